// The client of a pairing_ws server, for pages and bundlers. No DOM at import, no words for people, no dependencies.

import { watchAccount } from './account.js';
import { calls } from './calls.js';
import { base64url, DeviceKey } from './device-key.js';
import { deviceName, installationId, osName } from './device.js';
import { Http } from './http.js';
import { LoginFlow as Flow } from './login-flow.js';
import { drawCode } from './rotating.js';
import { keeper } from './storage.js';
import { PairingWatch } from './watch.js';

export { CloseCode } from './close-codes.js';
export { ProblemError } from './errors.js';
export { isRotating } from './rotating.js';
export { retryTransient } from './timing.js';
export { offWake, onWake } from './wake.js';
export { isFinal, PairingWatch } from './watch.js';

/**
 * @typedef {import('./types.js').Pairing} Pairing
 * @typedef {import('./types.js').Login} Login
 * @typedef {import('./types.js').User} User
 * @typedef {import('./types.js').Status} Status
 * @typedef {import('./types.js').Transport} Transport
 * @typedef {import('./types.js').Credential} Credential
 * @typedef {import('./types.js').LastingCredential} LastingCredential
 * @typedef {import('./login-flow.js').LoginFlow} LoginFlow
 * @typedef {import('./login-flow.js').LoginOptions} LoginOptions
 * @typedef {import('./login-flow.js').LoginState} LoginState
 * @typedef {import('./watch.js').WatchHandlers} WatchHandlers
 * @typedef {import('./watch.js').WatchState} WatchState
 *
 * @typedef {object} Options
 * @property {string | URL} baseUrl   where the server is mounted; in a page it may be relative to the page
 * @property {import('./storage.js').StorageLike} [storage]   for what outlives the page; default: `localStorage`, where
 *   there is one
 * @property {typeof globalThis.fetch} [fetch]
 * @property {typeof globalThis.WebSocket} [WebSocket]   where there is none, the client polls
 * @property {Crypto} [crypto]
 *
 * @typedef {ReturnType<typeof makeClient>} Calls   a client without its login flow, which is made of it
 * @typedef {Calls & {loginFlow: (flow?: import('./login-flow.js').LoginOptions) => import('./login-flow.js').LoginFlow}} Client
 */

/**
 * A client of one server. Touches nothing before it is used: no listener, no storage, no `document`.
 * Throws TypeError without a `baseUrl`, and, at the first call, if that is relative where there is no page.
 * @param {Options} options
 * @returns {Client}
 */
export function createClient(options) {
  const client = makeClient(options);
  return {
    ...client,

    /**
     * Logs this device in by a code that it shows: one store that says what to draw.
     * @param {import('./login-flow.js').LoginOptions} [flow]
     */
    loginFlow(flow = {}) {
      const agent = globalThis.navigator?.userAgent ?? '';
      const device = () => ({
        'X-Device-Code': encodeURIComponent(flow.deviceCode ?? client.installation()),
        'X-Device-Name': encodeURIComponent(flow.deviceName ?? deviceName(agent)),
        'X-Os-Device': encodeURIComponent(osName(agent)),
      });
      return new Flow(client, device, flow);
    },
  };
}

/** @param {Options} options */
function makeClient(options) {
  if (!options?.baseUrl) throw new TypeError('createClient needs the baseUrl of the server');
  const crypto = options.crypto ?? globalThis.crypto;
  const kept = keeper(() => options.storage ?? globalThis.localStorage);
  const root = () => {
    const url = new URL(options.baseUrl, globalThis.document?.baseURI ?? globalThis.location?.href);
    if (!url.pathname.endsWith('/')) url.pathname += '/';
    return url;
  };
  const isOwnOrigin = () => root().origin === globalThis.location?.origin;
  /** Two servers of one page have a key each. */
  const place = () => (isOwnOrigin() ? root().pathname : root().origin + root().pathname);
  const deviceKey = new DeviceKey(crypto, kept, place);
  const http = new Http(root, options.fetch ?? ((input, init) => globalThis.fetch(input, init)), deviceKey);
  const sockets = () => options.WebSocket ?? globalThis.WebSocket;
  // A page of another origin gets no cookie of the server's.
  const byName = calls(http, () => (isOwnOrigin() ? 'cookie' : 'body'));

  return {
    ...byName,

    /** Where the server is mounted, with a slash at the end. */
    root,

    /** Names this installation to itself, the same at each login: what `X-Device-Code` says. */
    installation: () => installationId(crypto, kept, place()),

    /** A secret of the new device's own: with it, a lost answer can be asked for again. */
    newSecret: () => base64url(crypto.getRandomValues(new Uint8Array(32))),

    /**
     * For calls with the authKey to a server of your own: what goes into their header `DPoP`; undefined without a key.
     * `nonce`: that server's `DPoP-Nonce`, once it has answered `use_dpop_nonce`.
     * @param {string} method @param {string | URL} url @param {string} authKey @param {string} [nonce]
     */
    proof: (method, url, authKey, nonce) => deviceKey.proofFor(method, new URL(url), authKey, nonce),

    /** Whether this browser can keep a key of the device's own. */
    canKeepKey: () => deviceKey.canBeKept(),

    /** Whether there may be a key that could not be read. */
    keyIsOutOfReach: () => deviceKey.isOutOfReach(),

    /**
     * Watches a pairing until its end, by socket, and by long polling while no socket can be had.
     * @param {import('./types.js').Pairing} pairing  as last seen; only newer versions are reported
     * @param {import('./types.js').LastingCredential} credential
     * @param {Partial<import('./watch.js').WatchHandlers>} [handlers]
     */
    watchPairing: (pairing, credential, handlers = {}) =>
      new PairingWatch(byName, http, sockets, pairing, credential, handlers),

    /**
     * Watches the account of a logged-in device.
     * @param {import('./types.js').LastingCredential} credential
     * @param {import('./account.js').AccountHandlers} handlers
     */
    watchAccount: (credential, handlers) => watchAccount(http, sockets, credential, handlers),

    /**
     * Calls `draw` with what a pairing's picture has to say, again at each step of one that rotates, until it returns
     * false.
     * @param {import('./types.js').Pairing} pairing  as created
     * @param {PairingWatch} watch  its own
     * @param {(text: string) => boolean | void} draw
     */
    drawCode: (pairing, watch, draw) => drawCode(crypto.subtle, pairing, watch, draw),
  };
}
