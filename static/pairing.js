// What a client needs to speak with the server: the calls, their errors, and the waiting (socket, long polling).
// No DOM, no words for people: this file, close-codes.js, device-key.js and kept.js can be taken into another page as they are.

import { CloseCode, SPREAD_CLOSE_CODES, TERMINAL_CLOSE_CODES } from './close-codes.js';
import { base64url, proofFor, publicKey, takeNonce } from './device-key.js';

/**
 * @typedef {'new_device' | 'logged_in_device'} Initiator
 * @typedef {'pending' | 'scanned' | 'approved' | 'consumed' | 'denied' | 'cancelled' | 'expired'} Status
 * @typedef {'connecting' | 'socket' | 'polling' | 'offline' | 'busy'} Transport   `busy`: the server asked for a pause
 *
 * @typedef {object} NewDevice            What the approver may know of the device that asks.
 * @property {{name: string, os?: string, appVersion?: string}} reported   its own claims
 * @property {{ip: string, userAgent?: string, network: 'same' | 'different' | 'unknown', place?: Place}} observed
 *   seen by the server
 * @property {string} [deviceId]          once it is logged in
 *
 * @typedef {{countryCode?: string, country?: string, city?: string}} Place   of an address, as a database says
 *
 * @typedef {object} Pairing
 * @property {string} id
 * @property {Initiator} initiator
 * @property {Status} status
 * @property {number} version
 * @property {string} createdAt
 * @property {string} expiresAt
 * @property {number} expiresIn
 * @property {'undecided' | 'none' | 'number'} verification
 * @property {number} pollInterval
 * @property {string} [scannedAt]
 * @property {string} [approvedAt]
 * @property {NewDevice} [newDevice]      approver only
 * @property {{id: string, name: string, scopes: string[], logoUri?: string}} [client]   approver only: the application
 *   that gets access, in place of a device
 * @property {('place_differs' | 'many_requests' | 'network_differs')[]} [warnings]   approver only, if any
 * @property {string} [number]            approver only, once approved
 * @property {'device_limit' | 'device_quarantined'} [obstacle]   approver only, while approving would be refused
 * @property {string} [userCode]          creator only
 * @property {{text: string, svg?: string, png?: string, rotate?: {seed: string, seconds: number}}} [qr]   creator only
 * @property {true} [away]                the new device's page was left; the pairing ends soon unless it comes back
 * @property {number} [elapsedMs]         creator only, while a picture that rotates can be scanned
 *
 * @typedef {object} Login
 * @property {string} authKey
 * @property {number} expiresIn
 * @property {{id: string, username: string, displayName: string}} user
 * @property {{id: string, name: string}} device
 *
 * @typedef {{secret: string, device?: Record<string, string>, unbound?: boolean} | {authKey: string}} Credential
 *   The new device holds a secret, a logged-in one an authKey. The new device shows a key of its own as well, where the
 *   browser can keep one (see device-key.js), and whatever it logs in with is then worth nothing elsewhere; `unbound`
 *   does without.
 * @typedef {{secret: string} | {authKey: (stale?: string) => Promise<string>}} LastingCredential
 *   For a watch, which may outlive an authKey: called with the refused key, the function fetches a new one.
 */

/** Where the application is mounted. */
export const root = new URL('..', import.meta.url);
const api = new URL('api/v1/', root);

const SUBPROTOCOL = 'pairing.v1';
const LONG_POLL = 25;
const CALL_LIMIT = 40_000;
const FINAL = new Set(['consumed', 'denied', 'cancelled', 'expired']);

/** @param {Pairing} pairing */
export const isFinal = (pairing) => FINAL.has(pairing.status);

/** An answer of the server that is not a success, or (`unreachable`) no answer at all. */
export class ProblemError extends Error {
  /**
   * @param {string} code  the machine word of the problem document
   * @param {number} http  the HTTP status, 0 without an answer
   * @param {Record<string, any>} [members]  the whole document
   * @param {number} [retryAfter]  seconds
   */
  constructor(code, http, members = {}, retryAfter = undefined) {
    super(members.detail ?? members.title ?? code);
    this.name = 'ProblemError';
    this.code = code;
    this.http = http;
    this.members = members;
    this.retryAfter = retryAfter;
  }
}

// --- Calls -----------------------------------------------------------------------------------------------------------

/** A secret of the new device's own: with it, a lost answer can be asked for again. */
export function newSecret() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

/** For calls with the authKey to a server of your own: what goes into their header `DPoP`; undefined without a key. */
export const proof = (/** @type {string} */ method, /** @type {string} */ url, /** @type {string} */ authKey) =>
  proofFor(method, new URL(url), authKey);

/** `qr` is `svg`, `png` or `none`. @returns {Promise<Pairing>} */
export const createPairing = (/** @type {Credential} */ by, { qr = 'svg' } = {}) =>
  introduce('pairings', by, { qr });

/** @returns {Promise<Pairing>} */
export const claimPairing = (/** @type {string} */ id, /** @type {string} */ code, /** @type {Credential} */ by) =>
  introduce(`pairings/${encodeURIComponent(id)}/claim`, by, { code });

/** Whether a scanned code is one of a picture that rotates: it has to be claimed with, or reserved, within seconds. */
export const isRotating = (/** @type {string} */ code) => code.startsWith('~');

/**
 * A code that can wait for a press, for as long as the answer says and for this holder alone. Changes nothing.
 * @returns {Promise<{code: string, expiresIn: number}>}
 */
export const reserveCode = (/** @type {string} */ id, /** @type {string} */ code, /** @type {Credential} */ by) =>
  call('POST', `pairings/${encodeURIComponent(id)}/keep`, { by: withoutDevice(by), body: { code } });

/** @returns {Promise<Pairing>} */
export const claimTypedCode = (/** @type {string} */ userCode, /** @type {Credential} */ by) =>
  introduce('pairings/claim', by, { userCode });

/** With `wait`, answers as soon as the version is beyond `since`. @returns {Promise<Pairing>} */
export function readPairing(
  /** @type {string} */ id,
  /** @type {Credential} */ by,
  { since = 0, wait = 0, signal = undefined } = {},
) {
  const query = wait ? `?since=${since}&wait=${wait}` : '';
  return call('GET', `pairings/${encodeURIComponent(id)}${query}`, { by: withoutDevice(by), signal });
}

/** What this session may still decide or show, the newest first. @returns {Promise<{pairings: Pairing[]}>} */
export const listPairings = (/** @type {string} */ authKey) => call('GET', 'pairings', { by: { authKey } });

/** Says whether the new device's page is there or just being left. @returns {Promise<Pairing>} */
export const tellPresence = (/** @type {string} */ id, /** @type {string} */ secret, /** @type {boolean} */ here) =>
  call('POST', `pairings/${encodeURIComponent(id)}/presence`, { by: { secret }, body: { here }, keepalive: !here });

/** @returns {Promise<Pairing>} */
export const approvePairing = (/** @type {string} */ id, /** @type {string} */ authKey) =>
  call('POST', `pairings/${encodeURIComponent(id)}/approve`, { by: { authKey } });

/** @returns {Promise<Pairing>} */
export const denyPairing = (/** @type {string} */ id, /** @type {string} */ authKey, { report = false } = {}) =>
  call('POST', `pairings/${encodeURIComponent(id)}/deny`, { by: { authKey }, body: { report } });

export const cancelPairing = (/** @type {string} */ id, /** @type {Credential} */ by) =>
  call('DELETE', `pairings/${encodeURIComponent(id)}`, { by: withoutDevice(by) });

/** With `cookie` the refreshKey never reaches the page. @returns {Promise<Login>} */
export const logIn = (
  /** @type {string} */ id,
  /** @type {string} */ secret,
  { number = undefined, keys = 'cookie' } = {},
) => call('POST', `pairings/${encodeURIComponent(id)}/login`, { by: { secret }, body: { number, keys }, proved: true });

/** @returns {Promise<Login>} */
export const acceptInvite = (/** @type {string} */ code, /** @type {Credential} */ by, { keys = 'cookie' } = {}) =>
  introduce('invites/accept', by, { code, keys }, { proved: true });

/** The refreshKey is in the cookie, or given. @returns {Promise<Login>} */
export const refreshKeys = ({ refreshKey = undefined, keys = refreshKey ? 'body' : 'cookie' } = {}) =>
  call('POST', 'sessions/refresh', { body: { refreshKey, keys }, proved: true });
export const logOut = (/** @type {string} */ authKey) => call('DELETE', 'sessions/current', { by: { authKey } });
export const whoAmI = (/** @type {string} */ authKey) => call('GET', 'me', { by: { authKey } });
export const listDevices = (/** @type {string} */ authKey) => call('GET', 'devices', { by: { authKey } });
/** A page, newest first; `before`: what `next` said on the one before. */
export const listActivity = (
  /** @type {string} */ authKey,
  /** @type {{only?: 'logins' | 'other', before?: string}} */ query = {},
) => call('GET', `activity${Object.keys(query).length ? `?${new URLSearchParams(query)}` : ''}`, { by: { authKey } });
export const renameDevice = (/** @type {string} */ id, /** @type {string} */ name, /** @type {string} */ authKey) =>
  call('PATCH', `devices/${encodeURIComponent(id)}`, { by: { authKey }, body: { name } });
/** `descendants`: also every device it let in. */
export const revokeDevice = (/** @type {string} */ id, /** @type {string} */ authKey, { descendants = false } = {}) =>
  call('DELETE', `devices/${encodeURIComponent(id)}${descendants ? '?descendants=true' : ''}`, { by: { authKey } });
export const revokeOthers = (/** @type {string} */ authKey) =>
  call('POST', 'devices/revoke-others', { by: { authKey } });

/** What to ask `navigator.credentials` for, bytes as base64url. */
export const passkeyOptions = (/** @type {string} */ authKey) => call('POST', 'passkeys/options', { by: { authKey } });
export const stepUpOptions = (/** @type {string} */ authKey) =>
  call('POST', 'sessions/current/step-up/options', { by: { authKey } });
export const addPasskey = (/** @type {string} */ name, /** @type {object} */ credential, /** @type {string} */ authKey) =>
  call('POST', 'passkeys', { by: { authKey }, body: { name, credential } });
export const listApps = (/** @type {string} */ authKey) => call('GET', 'apps', { by: { authKey } });
export const revokeApp = (/** @type {string} */ id, /** @type {string} */ authKey) =>
  call('DELETE', `apps/${encodeURIComponent(id)}`, { by: { authKey } });
export const listPasskeys = (/** @type {string} */ authKey) => call('GET', 'passkeys', { by: { authKey } });
export const removePasskey = (/** @type {string} */ id, /** @type {string} */ authKey) =>
  call('DELETE', `passkeys/${encodeURIComponent(id)}`, { by: { authKey } });
/** After a 403 `step_up_required`; then repeat the call. */
export const stepUp = (
  /** @type {{credential: object} | {hostToken: string}} */ proof,
  /** @type {string} */ authKey,
) => call('POST', 'sessions/current/step-up', { by: { authKey }, body: proof });

/**
 * Answers an application's authorization request: `redirectTo`, or the `question` that the person has to decide first.
 * @param {{query: string, decision?: 'approve' | 'deny', started?: string}} request
 * @param {string} authKey
 */
export const authorize = (request, authKey) => call('POST', 'authorizations', { by: { authKey }, body: request });

/**
 * Repeats a call that may be repeated (the same holder gets the same answer) while nothing but the network is wrong.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {number} [seconds]  the server hands a lost login out again for 30 s
 * @returns {Promise<T>}
 */
export async function retryTransient(attempt, seconds = 25) {
  const end = performance.now() + seconds * 1000;
  for (let failures = 0; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      const pause = error.retryAfter ? error.retryAfter * 1000 : backoff(failures, 4000);
      const passing = error.code === 'unreachable' || error.http === 503;
      if (!passing || performance.now() + pause > end) throw error;
      await sleep(pause);
    }
  }
}

const withoutDevice = (/** @type {any} */ { device, ...by }) => by;

/** A call by which a new device shows who it is, its key included. */
async function introduce(path, by, body, options = {}) {
  const deviceKey = 'authKey' in by || by.unbound ? null : await publicKey();
  return call('POST', path, { by, body: deviceKey ? { ...body, deviceKey } : body, ...options });
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{by?: any, body?: object, signal?: AbortSignal, proved?: boolean, keepalive?: boolean}} [options]  `proved`: by its key, as with
 *   every authKey
 */
async function call(method, path, options = {}) {
  const { by = {}, proved = Boolean(by.authKey) } = options;
  const url = new URL(path, api);
  const send = async () => request(method, url, proved ? await proofFor(method, url, by.authKey) : undefined, options);
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

/** One request, and what its answer says, if it is JSON. */
async function request(method, url, dpop, { by = /** @type {any} */ ({}), body = undefined, signal = undefined, keepalive = false }) {
  const headers = { Accept: 'application/json', ...by.device };
  if (by.secret) headers['Pairing-Secret'] = by.secret;
  if (by.authKey) headers['Auth-Key'] = by.authKey;
  if (dpop) headers.DPoP = dpop;
  if (method === 'POST' || method === 'PATCH') headers['Content-Type'] = 'application/json';
  const content = headers['Content-Type'] ? JSON.stringify(body ?? {}) : undefined;
  // A connection can die without a word; nothing shall wait for it forever.
  const end = new AbortController();
  const limit = setTimeout(() => end.abort(), CALL_LIMIT);
  const leave = () => end.abort();
  if (signal?.aborted) leave();
  signal?.addEventListener('abort', leave);
  try {
    const response = await fetch(url, {
      method,
      headers,
      body: content,
      // It has to arrive even if its page is closed by then.
      keepalive,
      signal: end.signal,
      cache: 'no-store',
      redirect: 'error',
    });
    takeNonce(response.headers.get('DPoP-Nonce'));
    return { response, answer: response.status === 204 ? null : await response.json().catch(() => null) };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ProblemError('unreachable', 0);
  } finally {
    clearTimeout(limit);
    signal?.removeEventListener('abort', leave);
  }
}

// --- Waiting ---------------------------------------------------------------------------------------------------------

/**
 * Watches one pairing until its end, by socket, and by long polling while no socket can be had. Each version is
 * reported at most once and never out of order, whichever way it came; only a server that lost its last moments in a
 * failover makes it go back.
 *
 * @param {Pairing} pairing  as last seen; only newer versions are reported
 * @param {LastingCredential} credential
 * @param {Partial<Pick<Watch, 'onPairing' | 'onTransport' | 'onStop'>>} [handlers]
 */
export const watchPairing = (pairing, credential, handlers = {}) => new Watch(pairing, credential, handlers);

class Watch {
  constructor(pairing, credential, handlers) {
    /** A newer state. @type {(pairing: Pairing) => void} */
    this.onPairing = () => {};
    /** The transport that is in use now. @type {(transport: Transport) => void} */
    this.onTransport = () => {};
    /**
     * The watch stopped although the pairing has not ended: `taken_over`, `not_found`, `unauthenticated`, `account_locked`,
     * `foreign_origin`, `bad_request`.
     * @type {(code: string) => void}
     */
    this.onStop = () => {};
    /** @type {Transport} */
    this.transport = 'connecting';
    Object.assign(this, handlers);
    this._id = pairing.id;
    this._version = pairing.version;
    this._status = pairing.status;
    this._credential = credential;
    this._began = this._ends = this._endOf = 0;
    this._stopped = false;
    this._check = undefined;
    /** @type {AbortController | null} */
    this._poll = null;
    /** @type {Promise<void> | null} */
    this._reading = null;
    this._wake = () => {
      // After a sleep any open connection may be dead without knowing: the read tells the truth until there is a new one.
      this.read();
      this._socket.renew();
      if (!this._poll) return;
      this._stopPolling();
      this._startPolling(0);
    };
    this._tellTime(pairing);
    if (isFinal(pairing)) {
      this._stopped = true;
      return;
    }
    this._socket = new ReconnectingSocket(`pairings/${encodeURIComponent(pairing.id)}/socket`, credential, {
      greets: true,
      onMessage: (message) => {
        if (message.type !== 'pairing') return;
        this._stopPolling();
        this._report('socket');
        this._tellTime(message.pairing);
        // Either it crossed with a newer answer, or the server has lost its last moments: a read tells.
        if (this._isBehind(message.pairing)) this.read();
        this.take(message.pairing);
      },
      onDown: (pause) => this._startPolling(pause),
      onStop: (code) => this._end(code),
    });
    onWake(this._wake);
    this._planCheck();
  }

  /** Milliseconds since the pairing was created, by the server's clock as it was last heard. */
  get elapsed() {
    return performance.now() - this._began;
  }

  /** Seconds until the pairing expires, by the server's clock as it was last heard; below zero after that. */
  get left() {
    return (this._ends - performance.now()) / 1000;
  }

  /** Asks for the present state once, beside the running watch. Never throws. */
  read() {
    if (!this._reading) {
      this._reading = this._ask()
        .catch(() => {})
        .finally(() => {
          this._reading = null;
        });
    }
    return this._reading;
  }

  stop() {
    this._stopped = true;
    this._stopPolling();
    clearTimeout(this._check);
    this._socket?.stop();
    offWake(this._wake);
  }

  _planCheck() {
    // Spread, so that devices which connected together do not all ask together.
    this._check = setTimeout(() => this._checkSocket(), CHECK * (0.8 + 0.4 * Math.random()));
  }

  /** A connection can die without a close, and the server's pings are invisible here: a read finds it out. */
  async _checkSocket() {
    if (this.transport === 'socket' && !this._poll) {
      const before = this._version;
      let silent = false;
      try {
        await this._ask();
        // The socket should have brought this. Should the two just have crossed, a new socket does no harm.
        silent = this._version > before;
      } catch (error) {
        silent = error.code === 'unreachable' || isTerminal(error);
      }
      if (silent && !this._stopped) this._socket.renew();
    }
    if (!this._stopped) this._planCheck();
  }

  /** Takes up a state that came another way, such as the answer to approve. @param {Pairing} pairing */
  take(pairing) {
    if (this._stopped || pairing.version <= this._version) return;
    this._tellTime(pairing);
    this._version = pairing.version;
    this._status = pairing.status;
    if (isFinal(pairing)) this.stop();
    this.onPairing(pairing);
  }

  _report(transport) {
    if (this._stopped || transport === this.transport) return;
    this.transport = transport;
    this.onTransport(transport);
  }

  _end(code) {
    if (this._stopped) return;
    this.stop();
    this.onStop(code);
  }

  _tellTime({ version, expiresIn, elapsedMs = undefined }) {
    const ends = performance.now() + expiresIn * 1000;
    // Of one version the end is fixed: heard again, it comes nearer only, by what was slept or was late on the way.
    this._ends = version === this._endOf ? Math.min(ends, this._ends) : ends;
    this._endOf = version;
    if (elapsedMs !== undefined) this._began = performance.now() - elapsedMs;
  }

  _isBehind({ version, status }) {
    return version < this._version || (version === this._version && status !== this._status);
  }

  async _ask(options = {}) {
    const before = this._version;
    const by = 'secret' in this._credential ? this._credential : { authKey: await this._credential.authKey() };
    let pairing;
    try {
      pairing = await readPairing(this._id, by, options);
    } catch (error) {
      if (error.http !== 401 || 'secret' in this._credential) throw error;
      const authKey = await this._credential.authKey(by.authKey);
      pairing = await readPairing(this._id, { authKey }, options);
    }
    this._tellTime(pairing);
    // Read after we knew better: the server has lost its last moments, and what it says now is the truth.
    if (this._version === before && this._isBehind(pairing)) this._version = 0;
    this.take(pairing);
  }

  _stopPolling() {
    this._poll?.abort();
    this._poll = null;
  }

  async _startPolling(pause) {
    if (this._poll || this._stopped) return;
    const { signal } = (this._poll = new AbortController());
    await sleep(pause, signal);
    // The first answer comes at once and shows that polling works; the following ones wait for a change.
    let longest = LONG_POLL;
    for (let failures = 0, wait = 0; !signal.aborted;) {
      const began = performance.now();
      const before = this._version;
      try {
        await this._ask({ since: before, wait, signal });
        if (signal.aborted) return;
        this._report('polling');
        // Something between us and the server cuts the waits short: do not turn that into a storm.
        const cut = wait && this._version === before && performance.now() - began < 1000;
        if (cut || !longest) await sleep(3000, signal);
        failures = 0;
        wait = longest;
      } catch (error) {
        if (signal.aborted) return;
        if (isTerminal(error)) return this._end(error.code);
        const waited = (performance.now() - began) / 1000;
        if (wait && !error.retryAfter && (error.code === 'unreachable' || error.http >= 500)) {
          // A proxy's patience may be shorter than the wait. An answer at once tells; then the next wait fits.
          longest = Math.min(wait, waited < 1 ? 0 : Math.max(1, Math.floor(waited * 0.8)));
          wait = 0;
          continue;
        }
        this._report(error.retryAfter ? 'busy' : 'offline');
        longest = LONG_POLL;
        wait = 0;
        await sleep(error.retryAfter ? error.retryAfter * 1000 : backoff(failures++), signal);
      }
    }
  }
}

// --- A picture that rotates ------------------------------------------------------------------------------------------

/**
 * Calls `draw` with what the picture has to say: once, or, if it rotates, at once and then at each step, until `draw`
 * returns false. In between nothing is sent and nothing asked; `watch`, the pairing's own, hears what time it is.
 *
 * @param {Pairing} pairing  as created
 * @param {Watch} watch
 * @param {(text: string) => boolean | void} draw
 */
export async function drawCode({ qr }, watch, draw) {
  const { text, rotate } = /** @type {any} */ (qr);
  if (!rotate) return void draw(text);
  const address = text.slice(0, text.indexOf('#') + 1);
  const seed = Uint8Array.from(atob(rotate.seed.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
  const key = await crypto.subtle.importKey('raw', seed, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const length = rotate.seconds * 1000;
  let shown = -1;
  let timer = undefined;

  const tick = async () => {
    clearTimeout(timer);
    const { elapsed } = watch;
    timer = setTimeout(tick, length - (elapsed % length));
    const step = Math.floor(elapsed / length);
    if (step === shown) return;
    shown = step;
    const code = await rotatingCode(key, step);
    if (step === shown && draw(address + code) === false) {
      clearTimeout(timer);
      offWake(wake);
    }
  };
  const wake = async () => {
    tick();
    await watch.read();
    tick();
  };
  onWake(wake);
  await tick();
}

/** RFC 6238 with SHA-256, and 128 bits for its digits. @param {CryptoKey} key @param {number} step */
async function rotatingCode(key, step) {
  const counter = new DataView(new ArrayBuffer(8));
  counter.setUint32(0, Math.floor(step / 2 ** 32));
  counter.setUint32(4, step);
  const mac = await crypto.subtle.sign('HMAC', key, counter);
  return `~${base64url(new Uint8Array(mac, 0, 16))}`;
}

/** How often a page without a socket asks what has become of the account. */
const ACCOUNT_POLL = 10_000;

/**
 * The account's events, for a logged-in device: `device.added`, `device.revoked`, `passkey.added`, `passkey.removed`,
 * `app.added`, `app.revoked`.
 * `onPoll` asks by itself for the present state: at the start, each time a socket has opened (nothing tells what happened
 * before that), and, while no socket is open and the page can be seen, at once and every 10 s.
 * A socket that gave way to newer ones of the same device comes back when the page is looked at.
 * @param {LastingCredential} credential
 * @param {{
 *   onEvent: (event: {type: string, device?: any, passkey?: any, app?: any}) => void,
 *   onPoll?: () => void,
 *   onStop?: (code: string) => void,
 * }} handlers
 */
export function watchAccount(credential, { onEvent, onPoll = () => {}, onStop = () => {} }) {
  let polling = undefined;
  /** @type {ReconnectingSocket | null} */
  let socket = null;
  const poll = () => globalThis.document?.visibilityState !== 'hidden' && onPoll();
  const onDown = () => {
    if (polling !== undefined) return;
    polling = setInterval(poll, ACCOUNT_POLL);
    poll();
  };
  const stopPolling = () => {
    clearInterval(polling);
    polling = undefined;
  };
  const onUp = () => {
    stopPolling();
    poll();
  };
  const stop = () => {
    offWake(wake);
    stopPolling();
    socket?.stop();
  };
  const connect = () =>
    new ReconnectingSocket('socket', credential, {
      onMessage: onEvent,
      onUp,
      onDown,
      onStop: (code) => {
        socket = null;
        if (code === 'taken_over') return onDown();
        stop();
        onStop(code);
      },
    });
  const wake = () => {
    if (socket) return socket.renew();
    // Five sockets per device: the first tab that is looked at takes one back.
    if (globalThis.document?.visibilityState !== 'hidden') socket = connect();
  };
  onPoll();
  socket = connect();
  onWake(wake);
  return { stop };
}

const HANDSHAKE_LIMIT = 6000;
const SETTLED = 5000;
/** So often, roughly, a watch that lives on a socket asks whether the socket still tells it everything. */
const CHECK = 25_000;

/** Whether asking again is pointless, however often. */
const isTerminal = ({ http, code }) =>
  http === 401 || http === 404 || code === 'account_locked' || code === 'foreign_origin';

/** One socket that comes back by itself: capped backoff with full jitter, and what the close codes ask for. */
class ReconnectingSocket {
  /**
   * `onUp`: it has held for a while. `onDown` gets the pause (ms) that the server asked for before anything else is tried. `greets`: the server speaks
   * as soon as it knows the credential.
   */
  constructor(
    path,
    credential,
    { onMessage, onUp = () => {}, onDown = (/** @type {number} */ _pause) => {}, onStop, greets = false },
  ) {
    /** @type {WebSocket | null} */
    this._socket = null;
    this._failures = 0;
    this._renewed = this._provedAgain = false;
    this._stale = undefined;
    this._connecting = this._stopped = false;
    this._timer = this._limit = this._settled = undefined;
    this._url = new URL(path, api);
    this._url.protocol = this._url.protocol.replace('http', 'ws');
    this._credential = credential;
    this._onMessage = onMessage;
    this._onUp = onUp;
    this._onDown = onDown;
    this._onStop = onStop;
    this._greets = greets;
    this._connect();
  }

  /** Connects again at once, even if the present socket seems to be open. */
  renew() {
    // One that is still connecting is as new as it gets, and has its limit.
    if (this._stopped || this._socket?.readyState === WebSocket.CONNECTING) return;
    this._drop();
    this._connect();
  }

  stop() {
    this._stopped = true;
    clearTimeout(this._timer);
    clearTimeout(this._limit);
    this._socket?.close(CloseCode.DONE);
  }

  /** Lets go of the present socket: what it may still say, even that another has taken over, is about itself alone. */
  _drop() {
    const socket = this._socket;
    if (!socket) return;
    this._socket = null;
    clearTimeout(this._limit);
    clearTimeout(this._settled);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(CloseCode.DONE);
  }

  async _connect() {
    clearTimeout(this._timer);
    if (this._stopped || this._connecting) return;
    this._connecting = true;
    try {
      const hello = await this._greeting();
      this._stale = undefined;
      if (!this._stopped) this._open(hello);
    } catch (error) {
      if (isTerminal(error)) this._end(error.code);
      else this._retry(0);
    } finally {
      this._connecting = false;
    }
  }

  /** @returns {Promise<any>} */
  async _greeting() {
    if ('secret' in this._credential) return { type: 'auth', secret: this._credential.secret };
    const authKey = await this._credential.authKey(this._stale);
    const asked = new URL(this._url);
    asked.protocol = asked.protocol.replace('ws', 'http');
    return { type: 'auth', authKey, proof: await proofFor('GET', asked, authKey) };
  }

  _open(hello) {
    const socket = (this._socket = new WebSocket(this._url, SUBPROTOCOL));
    let retryAfter = 0;
    let refusedProof = false;
    // A proxy that swallows the upgrade, or what comes after it, leaves the socket without a word for minutes.
    this._limit = setTimeout(() => {
      this._drop();
      this._retry(0);
    }, HANDSHAKE_LIMIT);
    socket.onopen = () => {
      if (!this._greets) clearTimeout(this._limit);
      socket.send(JSON.stringify(hello));
      this._settled = setTimeout(() => {
        this._failures = 0;
        this._renewed = this._provedAgain = false;
        this._onUp();
      }, SETTLED);
    };
    socket.onmessage = ({ data }) => {
      clearTimeout(this._limit);
      const message = JSON.parse(data);
      if (message.type === 'retry') {
        retryAfter = message.retryAfter * 1000;
      } else if (message.type === 'nonce') {
        takeNonce(message.nonce);
        refusedProof = true;
      } else if (!this._stopped) {
        this._onMessage(message);
      }
    };
    socket.onclose = ({ code }) => {
      clearTimeout(this._limit);
      clearTimeout(this._settled);
      this._socket = null;
      if (this._stopped) return;
      if (refusedProof && !this._provedAgain) {
        this._provedAgain = true;
        this._connect();
      } else if (code === CloseCode.UNAUTHENTICATED && 'authKey' in this._credential && !this._renewed) {
        this._renewed = true;
        this._stale = hello.authKey;
        this._connect();
      } else if (code in TERMINAL_CLOSE_CODES) {
        this._end(TERMINAL_CLOSE_CODES[code]);
      } else {
        this._retry(retryAfter, SPREAD_CLOSE_CODES.includes(code));
      }
    };
  }

  _retry(pause, restarting = false) {
    clearTimeout(this._timer);
    // A restart meets every waiting device at once: the first attempts are spread over three seconds.
    const delay = pause + backoff(this._failures++, 30_000, restarting ? 3000 : 1000);
    this._timer = setTimeout(() => this._connect(), delay);
    if (!restarting || this._failures > 1) this._onDown(pause);
  }

  _end(code) {
    if (this._stopped) return;
    this.stop();
    this._onStop(code);
  }
}

/** Full jitter: anything between nothing and the ceiling, so that devices which fell together do not return together. */
function backoff(failures, cap = 30_000, base = 1000) {
  return Math.random() * Math.min(cap, base * 2 ** failures);
}

function sleep(ms, signal = undefined) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve(undefined);
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        resolve(undefined);
      },
      { once: true },
    );
  });
}

/** @type {Set<() => void>} */
const resumeListeners = new Set();
/** Calls it whenever this device may have missed something: it slept, the page was hidden, or the network was away. */
export function onWake(/** @type {() => void} */ listener) {
  resumeListeners.add(listener);
  if (ticking === undefined) ticking = setInterval(lookAtClocks, 1000);
}
export function offWake(/** @type {() => void} */ listener) {
  resumeListeners.delete(listener);
  if (resumeListeners.size) return;
  clearInterval(ticking);
  ticking = undefined;
}
const wakeAll = () => [...resumeListeners].forEach((listener) => listener());

/** A page that this much more time has passed for than its own clock counted has slept. */
const SLEPT = 1000;
let ticking = undefined;
/**
 * Durations are counted by `performance.now()`, which no setting of the clock moves, and which stands still while some
 * devices sleep. The wall clock goes on then, however wrong it is: only that the two drift apart counts here.
 */
const drift = () => Date.now() - performance.now();
let drifted = drift();
function lookAtClocks() {
  const before = drifted;
  drifted = drift();
  if (Math.abs(drifted - before) > SLEPT) wakeAll();
}
globalThis.addEventListener?.('online', wakeAll);
globalThis.document?.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && wakeAll());
