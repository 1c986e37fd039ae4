export type PublicKey = {
    kty?: string;
    crv?: string;
    x?: string;
    y?: string;
};
export type KeptKey = {
    pair: CryptoKeyPair;
    jwk: PublicKey;
};
/**
 * @typedef {{kty?: string, crv?: string, x?: string, y?: string}} PublicKey
 * @typedef {{pair: CryptoKeyPair, jwk: PublicKey}} KeptKey
 */
export declare class DeviceKey {
    _crypto: Crypto;
    _kept: import("./storage.js").Keeper;
    _place: () => string;
    /** @type {KeptKey | null} */
    _known: KeptKey | null;
    /** Whether the store has not answered in time: from then on it is not asked again. */
    _silent: boolean;
    /**
     * @param {Crypto} crypto
     * @param {import('./storage.js').Keeper} kept  for the server's nonces
     * @param {() => string} place  which server's key it is, for one origin may use several
     */
    constructor(crypto: Crypto, kept: import('./storage.js').Keeper, place: () => string);
    /** Whether a key would outlast this page. Never throws. */
    canBeKept(): Promise<boolean>;
    /** Whether there may be a key that could not be read. */
    isOutOfReach(): boolean;
    /**
     * The public key, made at the first call; null where there can be none that lasts: over plain http on a network there
     * is no WebCrypto, and some private windows store nothing.
     */
    publicKey(): Promise<PublicKey | null>;
    /**
     * A proof for one request; undefined if this installation has no key.
     * @param {string} method
     * @param {URL} url
     * @param {string} [authKey]  that goes with it
     * @param {string} [nonce]  of the server that is asked, unless it is ours
     * @returns {Promise<string | undefined>}
     */
    proofFor(method: string, url: URL, authKey?: string, nonce?: string): Promise<string | undefined>;
    /** Takes up what the server says that the next proofs must hold, if it says so. */
    takeNonce(/** @type {string | null} */ given: string | null): void;
    _nonceName(): string;
    /** @returns {Promise<KeptKey | null>} */
    _keptKey(): Promise<KeptKey | null>;
    /** @returns {Promise<KeptKey | null>} */
    _makeAndKeep(): Promise<KeptKey | null>;
    /**
     * @param {IDBTransactionMode} mode
     * @param {(store: IDBObjectStore) => IDBRequest} ask
     * @returns {Promise<any>}
     */
    _inStore(mode: IDBTransactionMode, ask: (store: IDBObjectStore) => IDBRequest): Promise<any>;
    /** @param {IDBRequest} request @returns {Promise<any>} */
    _settled(request: IDBRequest): Promise<any>;
}
/** @param {ArrayBuffer | Uint8Array} bytes */
export declare function base64url(bytes: ArrayBuffer | Uint8Array): string;
