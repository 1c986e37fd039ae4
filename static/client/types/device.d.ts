/**
 * Names the installation to itself.
 * @param {Crypto} crypto
 * @param {import('./storage.js').Keeper} kept
 * @param {string} place  which server's
 */
export declare function installationId(crypto: Crypto, kept: import('./storage.js').Keeper, place: string): string;
/** The name of a browser's device, as its user agent has it. */
export declare const deviceName: (/** @type {string} */ agent: string) => string;
export declare function browserName(/** @type {string} */ agent: string): "Chrome" | "Edge" | "Firefox" | "Opera" | "Safari" | "Samsung Internet" | "a browser";
export declare function osName(/** @type {string} */ agent: string): string;
