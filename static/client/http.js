// One call over HTTP: what goes into its headers, and what its answer means.

import { ProblemError } from './errors.js';

const CALL_LIMIT = 40_000;

/**
 * @typedef {object} CallOptions
 * @property {Partial<import('./types.js').NewDeviceCredential & import('./types.js').SessionCredential>} [by]
 * @property {object} [body]
 * @property {AbortSignal} [signal]
 * @property {boolean} [proved]      by the device's key, as with every authKey
 * @property {boolean} [keepalive]   it has to arrive even if its page is closed by then
 */

export class Http {
  /**
   * @param {() => URL} root  where the server is mounted
   * @param {typeof globalThis.fetch} fetch
   * @param {import('./device-key.js').DeviceKey} deviceKey
   */
  constructor(root, fetch, deviceKey) {
    this._root = root;
    this._fetch = fetch;
    this.deviceKey = deviceKey;
  }

  /** The address of a call or a socket. */
  urlOf(/** @type {string} */ path) {
    return new URL(`api/v1/${path}`, this._root());
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {CallOptions} [options]
   * @returns {Promise<any>} null for an answer without content
   */
  async call(method, path, options = {}) {
    const { by = {}, proved = Boolean(by.authKey) } = options;
    const url = this.urlOf(path);
    const send = async () => {
      const proof = proved ? await this.deviceKey.proofFor(method, url, by.authKey) : undefined;
      return this._request(method, url, proof, options);
    };
    let { response, answer } = await send();
    // The first proof of a page, or the first after a pause.
    if (answer?.code === 'use_dpop_nonce') ({ response, answer } = await send());
    if (response.status === 204) return null;
    if (response.ok && answer) return answer;
    const retryAfter = Number(response.headers.get('Retry-After')) || undefined;
    // A proxy's own error page is no problem document: the status is all there is to go by.
    const code = answer?.code ?? (response.status >= 500 || response.ok ? 'unavailable' : 'bad_request');
    throw new ProblemError(code, response.status, answer ?? {}, retryAfter);
  }

  /**
   * A call by which a new device shows who it is, its key included.
   * @param {string} path
   * @param {import('./types.js').Credential} by
   * @param {object} body
   * @param {CallOptions} [options]
   */
  async introduce(path, by, body, options = {}) {
    const deviceKey = 'authKey' in by || by.unbound ? null : await this.deviceKey.publicKey();
    return this.call('POST', path, { by, body: deviceKey ? { ...body, deviceKey } : body, ...options });
  }

  /**
   * One request, and what its answer says, if it is JSON.
   * @param {string} method
   * @param {URL} url
   * @param {string | undefined} proof
   * @param {CallOptions} options
   */
  async _request(method, url, proof, { by = {}, body = undefined, signal = undefined, keepalive = false }) {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'application/json', ...by.device };
    if (by.secret) headers['Pairing-Secret'] = by.secret;
    if (by.authKey) headers['Auth-Key'] = by.authKey;
    if (proof) headers.DPoP = proof;
    if (method === 'POST' || method === 'PATCH') headers['Content-Type'] = 'application/json';
    const content = headers['Content-Type'] ? JSON.stringify(body ?? {}) : undefined;
    // A connection can die without a word; nothing shall wait for it forever.
    const end = new AbortController();
    const limit = setTimeout(() => end.abort(), CALL_LIMIT);
    const leave = () => end.abort();
    if (signal?.aborted) leave();
    signal?.addEventListener('abort', leave);
    try {
      // As a plain function: a browser's `fetch` refuses to be called as a method of something else.
      const fetch = this._fetch;
      const response = await fetch(url.href, {
        method,
        headers,
        body: content,
        keepalive,
        signal: end.signal,
        cache: 'no-store',
        redirect: 'error',
      });
      this.deviceKey.takeNonce(response.headers.get('DPoP-Nonce'));
      return { response, answer: response.status === 204 ? null : await response.json().catch(() => null) };
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ProblemError('unreachable', 0);
    } finally {
      clearTimeout(limit);
      signal?.removeEventListener('abort', leave);
    }
  }
}
