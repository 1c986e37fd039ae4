// This installation's own key, and proofs that it is held here (DPoP, RFC 9449): what is stolen from this device is
// then worth nothing elsewhere. The private key can be used by this origin's scripts and read by nobody, not even them.

import { kept } from './kept.js';

/** One per place where the application is mounted. */
const MOUNTED = new URL('..', import.meta.url).pathname;
const STORE = `pairing-key:${MOUNTED}`;
const NONCE = `pairing-nonce:${MOUNTED}`;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };

/** @typedef {{pair: CryptoKeyPair, jwk: {kty: string, crv: string, x: string, y: string}}} DeviceKey */

/** Some browsers' IndexedDB never answers, until they are restarted. */
const STORE_LIMIT = 3000;

/** @type {DeviceKey | null} */
let known = null;
/** Whether the store has not answered in time: from then on it is not asked again. */
let silent = false;

/** Whether a key would outlast this page. Never throws. */
export async function canKeepKey() {
  if (known) return true;
  if (!crypto.subtle) return false;
  try {
    await inStore('readonly', (store) => store.count());
    return true;
  } catch {
    return false;
  }
}

/** Whether there may be a key that could not be read. */
export const keyIsOutOfReach = () => !known && silent;

/**
 * The public key, made at the first call; null where there can be none that lasts: over plain http on a network there
 * is no WebCrypto, and some private windows store nothing.
 */
export async function publicKey() {
  known = known ?? (await keptKey()) ?? (await makeAndKeep());
  return known?.jwk ?? null;
}

/**
 * A proof for one request; undefined if this installation has no key.
 * @param {string} method
 * @param {URL} url
 * @param {string} [authKey]  that goes with it
 * @returns {Promise<string | undefined>}
 */
export async function proofFor(method, url, authKey = undefined) {
  // Another tab may have made it since this one looked.
  known = known ?? (await keptKey());
  if (!known) return undefined;
  const { pair, jwk } = known;
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk };
  const claims = {
    jti: base64url(crypto.getRandomValues(new Uint8Array(16))),
    htm: method,
    htu: url.origin + url.pathname,
    iat: Math.floor(Date.now() / 1000),
    // Kept beside the key: with a nonce of its own each page would be refused first.
    nonce: kept.get(NONCE) ?? undefined,
    ath: authKey && base64url(await crypto.subtle.digest('SHA-256', utf8(authKey))),
  };
  const text = `${base64url(utf8(JSON.stringify(header)))}.${base64url(utf8(JSON.stringify(claims)))}`;
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, utf8(text));
  return `${text}.${base64url(signature)}`;
}

/** Takes up what the server says that the next proofs must hold, if it says so. */
export function takeNonce(/** @type {string | null} */ given) {
  if (given) kept.set(NONCE, given);
}

/** @returns {Promise<DeviceKey | null>} */
async function keptKey() {
  try {
    return crypto.subtle ? await inStore('readonly', (store) => store.get(0)) : null;
  } catch {
    return null;
  }
}

/** @returns {Promise<DeviceKey | null>} */
async function makeAndKeep() {
  if (!crypto.subtle) return null;
  try {
    const pair = await crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
    const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
    // Another tab may have been faster: then its key is the one.
    await inStore('readwrite', (store) => store.add({ pair, jwk: { kty, crv, x, y } }, 0)).catch(() => {});
  } catch {
    return null;
  }
  return keptKey();
}

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} ask
 * @returns {Promise<any>}
 */
async function inStore(mode, ask) {
  if (silent) throw new Error('the store of keys does not answer');
  const opening = indexedDB.open(STORE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('keys');
  const database = await settled(opening);
  try {
    return (await settled(ask(database.transaction('keys', mode).objectStore('keys')))) ?? null;
  } finally {
    database.close();
  }
}

/** @param {IDBRequest} request @returns {Promise<any>} */
const settled = (request) =>
  new Promise((resolve, reject) => {
    const limit = setTimeout(() => {
      silent = true;
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

const utf8 = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** @param {ArrayBuffer | Uint8Array} bytes */
export function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '');
}
