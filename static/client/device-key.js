// This installation's own key, and proofs that it is held here (DPoP, RFC 9449): what is stolen from this device is
// then worth nothing elsewhere. The private key can be used by this origin's scripts and read by nobody, not even them.

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };

/** Some browsers' IndexedDB never answers, until they are restarted. */
const STORE_LIMIT = 3000;

/**
 * @typedef {{kty?: string, crv?: string, x?: string, y?: string}} PublicKey
 * @typedef {{pair: CryptoKeyPair, jwk: PublicKey}} KeptKey
 */

export class DeviceKey {
  /**
   * @param {Crypto} crypto
   * @param {import('./storage.js').Keeper} kept  for the server's nonces
   * @param {() => string} place  which server's key it is, for one origin may use several
   */
  constructor(crypto, kept, place) {
    this._crypto = crypto;
    this._kept = kept;
    this._place = place;
    /** @type {KeptKey | null} */
    this._known = null;
    /** Whether the store has not answered in time: from then on it is not asked again. */
    this._silent = false;
  }

  /** Whether a key would outlast this page. Never throws. */
  async canBeKept() {
    if (this._known) return true;
    if (!this._crypto.subtle) return false;
    try {
      await this._inStore('readonly', (store) => store.count());
      return true;
    } catch {
      return false;
    }
  }

  /** Whether there may be a key that could not be read. */
  isOutOfReach() {
    return !this._known && this._silent;
  }

  /**
   * The public key, made at the first call; null where there can be none that lasts: over plain http on a network there
   * is no WebCrypto, and some private windows store nothing.
   */
  async publicKey() {
    this._known = this._known ?? (await this._keptKey()) ?? (await this._makeAndKeep());
    return this._known?.jwk ?? null;
  }

  /**
   * A proof for one request; undefined if this installation has no key.
   * @param {string} method
   * @param {URL} url
   * @param {string} [authKey]  that goes with it
   * @param {string} [nonce]  of the server that is asked, unless it is ours
   * @returns {Promise<string | undefined>}
   */
  async proofFor(method, url, authKey = undefined, nonce = undefined) {
    // Another tab may have made it since this one looked.
    this._known = this._known ?? (await this._keptKey());
    if (!this._known) return undefined;
    const { pair, jwk } = this._known;
    const { subtle } = this._crypto;
    const header = { typ: 'dpop+jwt', alg: 'ES256', jwk };
    const claims = {
      jti: base64url(this._crypto.getRandomValues(new Uint8Array(16))),
      htm: method,
      htu: url.origin + url.pathname,
      iat: Math.floor(Date.now() / 1000),
      // Kept beside the key: with a nonce of its own each page would be refused first.
      nonce: nonce ?? this._kept.get(this._nonceName()) ?? undefined,
      ath: authKey && base64url(await subtle.digest('SHA-256', utf8(authKey))),
    };
    const text = `${base64url(utf8(JSON.stringify(header)))}.${base64url(utf8(JSON.stringify(claims)))}`;
    const signature = await subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, utf8(text));
    return `${text}.${base64url(signature)}`;
  }

  /** Takes up what the server says that the next proofs must hold, if it says so. */
  takeNonce(/** @type {string | null} */ given) {
    if (given) this._kept.set(this._nonceName(), given);
  }

  _nonceName() {
    return `pairing-nonce:${this._place()}`;
  }

  /** @returns {Promise<KeptKey | null>} */
  async _keptKey() {
    try {
      return this._crypto.subtle ? await this._inStore('readonly', (store) => store.get(0)) : null;
    } catch {
      return null;
    }
  }

  /** @returns {Promise<KeptKey | null>} */
  async _makeAndKeep() {
    const { subtle } = this._crypto;
    if (!subtle) return null;
    try {
      const pair = await subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
      const { kty, crv, x, y } = await subtle.exportKey('jwk', pair.publicKey);
      // Another tab may have been faster: then its key is the one.
      await this._inStore('readwrite', (store) => store.add({ pair, jwk: { kty, crv, x, y } }, 0)).catch(() => {});
    } catch {
      return null;
    }
    return this._keptKey();
  }

  /**
   * @param {IDBTransactionMode} mode
   * @param {(store: IDBObjectStore) => IDBRequest} ask
   * @returns {Promise<any>}
   */
  async _inStore(mode, ask) {
    if (this._silent) throw new Error('the store of keys does not answer');
    const opening = indexedDB.open(`pairing-key:${this._place()}`, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('keys');
    const database = await this._settled(opening);
    try {
      return (await this._settled(ask(database.transaction('keys', mode).objectStore('keys')))) ?? null;
    } finally {
      database.close();
    }
  }

  /** @param {IDBRequest} request @returns {Promise<any>} */
  _settled(request) {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        this._silent = true;
        reject(new Error('the store of keys does not answer'));
      }, STORE_LIMIT);
      request.onsuccess = () => {
        clearTimeout(limit);
        resolve(request.result);
      };
      request.onerror = () => {
        clearTimeout(limit);
        reject(request.error);
      };
    });
  }
}

const utf8 = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** @param {ArrayBuffer | Uint8Array} bytes */
export function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '');
}
