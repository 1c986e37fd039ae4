/** Whether a scanned code is one of a picture that rotates: it has to be claimed with, or reserved, within seconds. */
export declare const isRotating: (/** @type {string} */ code: string) => boolean;
/**
 * Calls `draw` with what the picture has to say: once, or, if it rotates, at once and then at each step, until `draw`
 * returns false. In between nothing is sent and nothing asked; `watch`, the pairing's own, hears what time it is.
 *
 * @param {SubtleCrypto} subtle
 * @param {import('./types.js').Pairing} pairing  as created
 * @param {Pick<import('./watch.js').PairingWatch, 'elapsed' | 'read'>} watch
 * @param {(text: string) => boolean | void} draw
 */
export declare function drawCode(subtle: SubtleCrypto, { qr }: import('./types.js').Pairing, watch: Pick<import('./watch.js').PairingWatch, 'elapsed' | 'read'>, draw: (text: string) => boolean | void): Promise<undefined>;
/**
 * @param {SubtleCrypto} subtle
 * @param {string} seed  base64url
 */
export declare function rotationKey(subtle: SubtleCrypto, seed: string): Promise<CryptoKey>;
/**
 * RFC 6238 with SHA-256, and 128 bits for its digits.
 * @param {SubtleCrypto} subtle
 * @param {CryptoKey} key
 * @param {number} step
 */
export declare function rotatingCode(subtle: SubtleCrypto, key: CryptoKey, step: number): Promise<string>;
