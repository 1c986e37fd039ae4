// What a client needs to speak with the server: the calls, their errors, and the waiting (socket, long polling).
// No DOM, no words for people: this file and device-key.js can be taken into another page as they are.

import { base64url, proofFor, publicKey, takeNonce } from './device-key.js';

/**
 * @typedef {'new_device' | 'logged_in_device'} Initiator
 * @typedef {'pending' | 'scanned' | 'approved' | 'consumed' | 'denied' | 'cancelled' | 'expired'} Status
 * @typedef {'connecting' | 'socket' | 'polling' | 'offline'} Transport
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
 * @property {('place_differs' | 'many_requests' | 'network_differs')[]} [warnings]   approver only, if any
 * @property {string} [number]            approver only, once approved
 * @property {string} [userCode]          creator only
 * @property {{text: string, svg?: string, png?: string, rotate?: {seed: string, seconds: number}}} [qr]   creator only
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

/** Whether a scanned code is one of a picture that rotates: it has to be claimed with, or kept, within seconds. */
export const isFleeting = (/** @type {string} */ code) => code.startsWith('~');

/**
 * A code that can wait for a press, for as long as the answer says and for this holder alone. Changes nothing.
 * @returns {Promise<{code: string, expiresIn: number}>}
 */
export const keepCode = (/** @type {string} */ id, /** @type {string} */ code, /** @type {Credential} */ by) =>
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
export const listPasskeys = (/** @type {string} */ authKey) => call('GET', 'passkeys', { by: { authKey } });
export const removePasskey = (/** @type {string} */ id, /** @type {string} */ authKey) =>
  call('DELETE', `passkeys/${encodeURIComponent(id)}`, { by: { authKey } });
/** After a 403 `step_up_required`; then repeat the call. */
export const stepUp = (
  /** @type {{credential: object} | {hostToken: string}} */ proof,
  /** @type {string} */ authKey,
) => call('POST', 'sessions/current/step-up', { by: { authKey }, body: proof });

/**
 * Repeats a call that may be repeated (the same holder gets the same answer) while nothing but the network is wrong.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {number} [seconds]  the server hands a lost login out again for 30 s
 * @returns {Promise<T>}
 */
export async function persist(attempt, seconds = 25) {
  const end = Date.now() + seconds * 1000;
  for (let failures = 0; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      const pause = error.retryAfter ? error.retryAfter * 1000 : backoff(failures, 4000);
      const passing = error.code === 'unreachable' || error.http === 503;
      if (!passing || Date.now() + pause > end) throw error;
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
 * @param {{by?: any, body?: object, signal?: AbortSignal, proved?: boolean}} [options]  `proved`: by its key, as with
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
async function request(method, url, dpop, { by = {}, body = undefined, signal = undefined }) {
  const headers = { Accept: 'application/json', ...by.device };
  if (by.secret) headers['Pairing-Secret'] = by.secret;
  if (by.authKey) headers['Auth-Key'] = by.authKey;
  if (dpop) headers.DPoP = dpop;
  if (method === 'POST' || method === 'PATCH') headers['Content-Type'] = 'application/json';
  const content = headers['Content-Type'] ? JSON.stringify(body ?? {}) : undefined;
  // A connection can die without a word; nothing shall wait for it forever.
  const limit = AbortSignal.timeout(CALL_LIMIT);
  try {
    const response = await fetch(url, {
      method,
      headers,
      body: content,
      // Browsers before 2024 can't join two signals: there, who waits decides.
      signal: signal && 'any' in AbortSignal ? AbortSignal.any([signal, limit]) : (signal ?? limit),
      cache: 'no-store',
      redirect: 'error',
    });
    takeNonce(response.headers.get('DPoP-Nonce'));
    return { response, answer: response.status === 204 ? null : await response.json().catch(() => null) };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ProblemError('unreachable', 0);
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
  /** A newer state. @type {(pairing: Pairing) => void} */
  onPairing = () => {};
  /** The way the news now come. @type {(transport: Transport) => void} */
  onTransport = () => {};
  /**
   * No more news although the pairing has not ended: `taken_over`, `not_found`, `unauthenticated`, `account_locked`,
   * `foreign_origin`, `bad_request`.
   * @type {(code: string) => void}
   */
  onStop = () => {};
  /** @type {Transport} */
  transport = 'connecting';

  #id;
  #version;
  #status;
  #credential;
  #socket;
  #began = 0;
  #stopped = false;
  #check = undefined;
  /** @type {AbortController | null} */ #poll = null;
  /** @type {Promise<void> | null} */ #reading = null;

  constructor(pairing, credential, handlers) {
    Object.assign(this, handlers);
    this.#id = pairing.id;
    this.#version = pairing.version;
    this.#status = pairing.status;
    this.#credential = credential;
    this.#tellTime(pairing);
    if (isFinal(pairing)) {
      this.#stopped = true;
      return;
    }
    this.#socket = new LastingSocket(`pairings/${encodeURIComponent(pairing.id)}/socket`, credential, {
      greets: true,
      onMessage: (message) => {
        if (message.type !== 'pairing') return;
        this.#stopPolling();
        this.#report('socket');
        this.#tellTime(message.pairing);
        // Either it crossed with a newer answer, or the server has gone back: a read tells.
        if (this.#isBehind(message.pairing)) this.read();
        this.take(message.pairing);
      },
      onDown: (pause) => this.#startPolling(pause),
      onStop: (code) => this.#end(code),
    });
    onWake(this.#wake);
    this.#planCheck();
  }

  /** Milliseconds since the pairing was created, by the server's clock as it was last heard. */
  get elapsed() {
    return performance.now() - this.#began;
  }

  /** Asks for the present state once, beside the running watch. Never throws. */
  read() {
    this.#reading ??= this.#ask()
      .catch(() => {})
      .finally(() => {
        this.#reading = null;
      });
    return this.#reading;
  }

  stop() {
    this.#stopped = true;
    this.#stopPolling();
    clearTimeout(this.#check);
    this.#socket?.stop();
    offWake(this.#wake);
  }

  #wake = () => {
    // After a sleep any open connection may be dead without knowing: the read tells the truth until there is a new one.
    this.read();
    this.#socket.renew();
    if (!this.#poll) return;
    this.#stopPolling();
    this.#startPolling(0);
  };

  #planCheck() {
    // Spread, so that devices which connected together do not all ask together.
    this.#check = setTimeout(() => this.#checkSocket(), CHECK * (0.8 + 0.4 * Math.random()));
  }

  /** A connection can die without a close, and the server's pings are invisible here: a read finds it out. */
  async #checkSocket() {
    if (this.transport === 'socket' && !this.#poll) {
      const before = this.#version;
      let silent = false;
      try {
        await this.#ask();
        // The socket should have brought this. Should the two just have crossed, a new socket does no harm.
        silent = this.#version > before;
      } catch (error) {
        silent = error.code === 'unreachable' || isLast(error);
      }
      if (silent && !this.#stopped) this.#socket.renew();
    }
    if (!this.#stopped) this.#planCheck();
  }

  /** Takes up a state that came another way, such as the answer to approve. @param {Pairing} pairing */
  take(pairing) {
    if (this.#stopped || pairing.version <= this.#version) return;
    this.#version = pairing.version;
    this.#status = pairing.status;
    if (isFinal(pairing)) this.stop();
    this.onPairing(pairing);
  }

  #report(transport) {
    if (this.#stopped || transport === this.transport) return;
    this.transport = transport;
    this.onTransport(transport);
  }

  #end(code) {
    if (this.#stopped) return;
    this.stop();
    this.onStop(code);
  }

  #tellTime({ elapsedMs = undefined }) {
    if (elapsedMs !== undefined) this.#began = performance.now() - elapsedMs;
  }

  #isBehind({ version, status }) {
    return version < this.#version || (version === this.#version && status !== this.#status);
  }

  async #ask(options = {}) {
    const before = this.#version;
    const by = 'secret' in this.#credential ? this.#credential : { authKey: await this.#credential.authKey() };
    let pairing;
    try {
      pairing = await readPairing(this.#id, by, options);
    } catch (error) {
      if (error.http !== 401 || 'secret' in this.#credential) throw error;
      const authKey = await this.#credential.authKey(by.authKey);
      pairing = await readPairing(this.#id, { authKey }, options);
    }
    this.#tellTime(pairing);
    // Read after we knew better: the server has lost its last moments, and what it says now is the truth.
    if (this.#version === before && this.#isBehind(pairing)) this.#version = 0;
    this.take(pairing);
  }

  #stopPolling() {
    this.#poll?.abort();
    this.#poll = null;
  }

  async #startPolling(pause) {
    if (this.#poll || this.#stopped) return;
    const { signal } = (this.#poll = new AbortController());
    await sleep(pause, signal);
    // The first answer comes at once and shows that polling works; the following ones wait for news.
    for (let failures = 0, wait = 0; !signal.aborted;) {
      const began = Date.now();
      const before = this.#version;
      try {
        await this.#ask({ since: before, wait, signal });
        if (signal.aborted) return;
        this.#report('polling');
        // Something between us and the server cut the wait short: do not turn that into a storm.
        if (wait && this.#version === before && Date.now() - began < 1000) await sleep(3000, signal);
        failures = 0;
        wait = LONG_POLL;
      } catch (error) {
        if (signal.aborted) return;
        if (isLast(error)) return this.#end(error.code);
        this.#report('offline');
        wait = 0;
        await sleep(error.retryAfter ? error.retryAfter * 1000 : backoff(failures++), signal);
      }
    }
  }
}

// --- A picture that rotates ------------------------------------------------------------------------------------------

/** A page that this much more time has passed for than its own clock counted has slept. */
const SLEPT = 1000;

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
  const seed = Uint8Array.from(atob(rotate.seed.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  const key = await crypto.subtle.importKey('raw', seed, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const length = rotate.seconds * 1000;
  // Only differences of the wall clock count: however wrong it is, it goes on during a sleep, which the other may not.
  const gap = () => Date.now() - performance.now();
  let before = gap();
  let shown = -1;
  let timer = undefined;

  const tick = async () => {
    clearTimeout(timer);
    const { elapsed } = watch;
    timer = setTimeout(tick, length - (elapsed % length));
    if (Math.abs(gap() - before) > SLEPT) wake();
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
    before = gap();
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
  counter.setBigUint64(0, BigInt(step));
  const mac = await crypto.subtle.sign('HMAC', key, counter);
  return `~${base64url(new Uint8Array(mac, 0, 16))}`;
}

/**
 * The account's own news, for a logged-in device: `device.added`, `device.revoked`, `passkey.added`, `passkey.removed`.
 * @param {LastingCredential} credential
 * @param {{onEvent: (event: {type: string, device?: any, passkey?: any}) => void, onStop?: (code: string) => void}} handlers
 */
export function watchAccount(credential, { onEvent, onStop = () => {} }) {
  const wake = () => socket.renew();
  const socket = new LastingSocket('socket', credential, {
    onMessage: onEvent,
    onStop: (code) => {
      offWake(wake);
      onStop(code);
    },
  });
  onWake(wake);
  return {
    stop() {
      offWake(wake);
      socket.stop();
    },
  };
}

/** Closes after which coming back is pointless. */
const LAST_WORDS = { 4400: 'bad_request', 4401: 'unauthenticated', 4404: 'not_found', 4409: 'taken_over' };
const HANDSHAKE_LIMIT = 6000;
const SETTLED = 5000;
/** So often, roughly, a watch that lives on a socket asks whether the socket still tells it everything. */
const CHECK = 25_000;

/** Whether asking again is pointless, however often. */
const isLast = ({ http, code }) =>
  http === 401 || http === 404 || code === 'account_locked' || code === 'foreign_origin';

/** One socket that comes back by itself: capped backoff with full jitter, and what the close codes ask for. */
class LastingSocket {
  #url;
  #credential;
  #onMessage;
  #onDown;
  #onStop;
  #greets;
  /** @type {WebSocket | null} */ #socket = null;
  #failures = 0;
  #renewed = false;
  #provedAgain = false;
  #stale = undefined;
  #connecting = false;
  #stopped = false;
  #timer = undefined;
  #limit = undefined;
  #settled = undefined;

  /**
   * `onDown` gets the pause (ms) that the server asked for before anything else is tried. `greets`: the server speaks
   * as soon as it knows who asks.
   */
  constructor(path, credential, { onMessage, onDown = (/** @type {number} */ _pause) => {}, onStop, greets = false }) {
    this.#url = new URL(path, api);
    this.#url.protocol = this.#url.protocol.replace('http', 'ws');
    this.#credential = credential;
    this.#onMessage = onMessage;
    this.#onDown = onDown;
    this.#onStop = onStop;
    this.#greets = greets;
    this.#connect();
  }

  /** Connects anew and at once, whatever the present socket believes of itself. */
  renew() {
    // One that is still connecting is as new as it gets, and has its limit.
    if (this.#stopped || this.#socket?.readyState === WebSocket.CONNECTING) return;
    this.#drop();
    this.#connect();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#limit);
    this.#socket?.close(1000);
  }

  /** Lets go of the present socket: what it may still say, even that another has taken over, is about itself alone. */
  #drop() {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    clearTimeout(this.#limit);
    clearTimeout(this.#settled);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  async #connect() {
    clearTimeout(this.#timer);
    if (this.#stopped || this.#connecting) return;
    this.#connecting = true;
    try {
      const hello = await this.#greeting();
      this.#stale = undefined;
      if (!this.#stopped) this.#open(hello);
    } catch (error) {
      if (isLast(error)) this.#end(error.code);
      else this.#retry(0);
    } finally {
      this.#connecting = false;
    }
  }

  /** @returns {Promise<any>} */
  async #greeting() {
    if ('secret' in this.#credential) return { type: 'auth', secret: this.#credential.secret };
    const authKey = await this.#credential.authKey(this.#stale);
    const asked = new URL(this.#url);
    asked.protocol = asked.protocol.replace('ws', 'http');
    return { type: 'auth', authKey, proof: await proofFor('GET', asked, authKey) };
  }

  #open(hello) {
    const socket = (this.#socket = new WebSocket(this.#url, SUBPROTOCOL));
    let retryAfter = 0;
    let refusedProof = false;
    // A proxy that swallows the upgrade, or what comes after it, leaves the socket without a word for minutes.
    this.#limit = setTimeout(() => {
      this.#drop();
      this.#retry(0);
    }, HANDSHAKE_LIMIT);
    socket.onopen = () => {
      if (!this.#greets) clearTimeout(this.#limit);
      socket.send(JSON.stringify(hello));
      this.#settled = setTimeout(() => {
        this.#failures = 0;
        this.#renewed = this.#provedAgain = false;
      }, SETTLED);
    };
    socket.onmessage = ({ data }) => {
      clearTimeout(this.#limit);
      const message = JSON.parse(data);
      if (message.type === 'retry') {
        retryAfter = message.retryAfter * 1000;
      } else if (message.type === 'nonce') {
        takeNonce(message.nonce);
        refusedProof = true;
      } else if (!this.#stopped) {
        this.#onMessage(message);
      }
    };
    socket.onclose = ({ code }) => {
      clearTimeout(this.#limit);
      clearTimeout(this.#settled);
      this.#socket = null;
      if (this.#stopped) return;
      if (refusedProof && !this.#provedAgain) {
        this.#provedAgain = true;
        this.#connect();
      } else if (code === 4401 && 'authKey' in this.#credential && !this.#renewed) {
        this.#renewed = true;
        this.#stale = hello.authKey;
        this.#connect();
      } else if (code in LAST_WORDS) {
        this.#end(LAST_WORDS[code]);
      } else {
        this.#retry(retryAfter, code === 1001 || code === 1012);
      }
    };
  }

  #retry(pause, restarting = false) {
    clearTimeout(this.#timer);
    // A restart meets every waiting device at once: the first attempts are spread over three seconds.
    const delay = pause + backoff(this.#failures++, 30_000, restarting ? 3000 : 1000);
    this.#timer = setTimeout(() => this.#connect(), delay);
    if (!restarting || this.#failures > 1) this.#onDown(pause);
  }

  #end(code) {
    if (this.#stopped) return;
    this.stop();
    this.#onStop(code);
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
const sleepers = new Set();
const onWake = (sleeper) => sleepers.add(sleeper);
const offWake = (sleeper) => sleepers.delete(sleeper);
const wakeAll = () => [...sleepers].forEach((sleeper) => sleeper());
globalThis.addEventListener?.('online', wakeAll);
globalThis.document?.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && wakeAll());
