export type CallOptions = {
    by?: Partial<import('./types.js').NewDeviceCredential & import('./types.js').SessionCredential>;
    body?: object;
    signal?: AbortSignal;
    /**
     * by the device's key, as with every authKey
     */
    proved?: boolean;
    /**
     * it has to arrive even if its page is closed by then
     */
    keepalive?: boolean;
};
/**
 * @typedef {object} CallOptions
 * @property {Partial<import('./types.js').NewDeviceCredential & import('./types.js').SessionCredential>} [by]
 * @property {object} [body]
 * @property {AbortSignal} [signal]
 * @property {boolean} [proved]      by the device's key, as with every authKey
 * @property {boolean} [keepalive]   it has to arrive even if its page is closed by then
 */
export declare class Http {
    _root: () => URL;
    _fetch: typeof fetch;
    deviceKey: import("./device-key.js").DeviceKey;
    /**
     * @param {() => URL} root  where the server is mounted
     * @param {typeof globalThis.fetch} fetch
     * @param {import('./device-key.js').DeviceKey} deviceKey
     */
    constructor(root: () => URL, fetch: typeof globalThis.fetch, deviceKey: import('./device-key.js').DeviceKey);
    /** The address of a call or a socket. */
    urlOf(/** @type {string} */ path: string): URL;
    /**
     * @param {string} method
     * @param {string} path
     * @param {CallOptions} [options]
     * @returns {Promise<any>} null for an answer without content
     */
    call(method: string, path: string, options?: CallOptions): Promise<any>;
    /**
     * A call by which a new device shows who it is, its key included.
     * @param {string} path
     * @param {import('./types.js').Credential} by
     * @param {object} body
     * @param {CallOptions} [options]
     */
    introduce(path: string, by: import('./types.js').Credential, body: object, options?: CallOptions): Promise<any>;
    /**
     * One request, and what its answer says, if it is JSON.
     * @param {string} method
     * @param {URL} url
     * @param {string | undefined} proof
     * @param {CallOptions} options
     */
    _request(method: string, url: URL, proof: string | undefined, { by, body, signal, keepalive }: CallOptions): Promise<{
        response: Response;
        answer: any;
    }>;
}
