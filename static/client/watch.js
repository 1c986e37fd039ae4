// Watches one pairing until its end, by socket, and by long polling while no socket can be had. Each version is reported
// at most once and never out of order, whichever way it came; only a server that lost its last moments in a failover
// makes it go back.

import { isTerminal, ProblemError, problemOf } from './errors.js';
import { ReconnectingSocket } from './socket.js';
import { Store } from './store.js';
import { backoff, sleep } from './timing.js';
import { offWake, onWake } from './wake.js';

/**
 * @typedef {import('./types.js').Pairing} Pairing
 * @typedef {import('./types.js').Transport} Transport
 * @typedef {import('./types.js').LastingCredential} LastingCredential
 *
 * @typedef {object} WatchHandlers
 * @property {(pairing: Pairing) => void} onPairing        a newer state
 * @property {(transport: Transport) => void} onTransport  the transport that is in use now
 * @property {(code: string) => void} onStop   the watch stopped although the pairing has not ended: `taken_over`,
 *   `not_found`, `unauthenticated`, `account_locked`, `foreign_origin`, `bad_request`
 *
 * @typedef {object} WatchState
 * @property {Pairing} pairing
 * @property {Transport} transport
 * @property {boolean} ended           nothing further comes
 * @property {string} [stopped]        why, if the pairing has not ended
 */

/** Seconds of a long poll. */
const LONG_POLL = 25;
/** So often (ms), roughly, a watch that lives on a socket asks whether the socket still tells it everything. */
const CHECK = 25_000;
/** Between polls (ms) where something cuts the long ones short. */
const CUT = 3000;
const FINAL = new Set(['consumed', 'denied', 'cancelled', 'expired']);

/** Whether nothing can change any more. */
export const isFinal = (/** @type {Pick<Pairing, 'status'>} */ pairing) => FINAL.has(pairing.status);

/**
 * Handlers may be given, or set later as properties. `subscribe` and `getSnapshot` give the same as a store, and
 * `for await (const pairing of watch)` as a sequence that begins with the present state; leaving the loop stops it.
 */
export class PairingWatch {
  /**
   * @param {ReturnType<typeof import('./calls.js').calls>} calls
   * @param {import('./http.js').Http} http
   * @param {() => typeof WebSocket | undefined} sockets
   * @param {Pairing} pairing  as last seen; only newer versions are reported
   * @param {LastingCredential} credential
   * @param {Partial<WatchHandlers>} handlers
   */
  constructor(calls, http, sockets, pairing, credential, handlers) {
    this.onPairing = handlers.onPairing ?? (() => {});
    this.onTransport = handlers.onTransport ?? (() => {});
    this.onStop = handlers.onStop ?? (() => {});
    this._calls = calls;
    this._id = pairing.id;
    this._version = pairing.version;
    /** @type {string} */
    this._status = pairing.status;
    this._credential = credential;
    this._began = this._ends = this._endOf = 0;
    this._stopped = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._check = undefined;
    /** @type {AbortController | null} */
    this._poll = null;
    /** @type {Promise<void> | null} */
    this._reading = null;
    /** @type {ReconnectingSocket | null} */
    this._socket = null;
    /** @type {WatchState} */
    const state = { pairing, transport: 'connecting', ended: isFinal(pairing) };
    this._store = new Store(state);
    this.subscribe = this._store.subscribe;
    this.getSnapshot = this._store.getSnapshot;
    this._wake = () => {
      // After a sleep any open connection may be dead without knowing: the read tells the truth until there is a new one.
      this.read();
      this._socket?.renew();
      if (!this._poll) return;
      this._stopPolling();
      this._startPolling(0);
    };
    this._tellTime(pairing);
    if (isFinal(pairing)) {
      this._stopped = true;
      return;
    }
    this._socket = new ReconnectingSocket(http, sockets, `pairings/${encodeURIComponent(pairing.id)}/socket`, credential, {
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

  /** The transport that is in use now. */
  get transport() {
    return this._store.getSnapshot().transport;
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
    if (!this._store.getSnapshot().ended) this._store.change({ ended: true });
  }

  /** Takes up a state that came another way, such as the answer to approve. */
  take(/** @type {Pairing} */ pairing) {
    if (this._stopped || pairing.version <= this._version) return;
    this._tellTime(pairing);
    this._version = pairing.version;
    this._status = pairing.status;
    const ended = isFinal(pairing);
    this._store.change({ pairing, ended });
    if (ended) this.stop();
    this.onPairing(pairing);
  }

  /**
   * Every newer state, the present one first. Throws ProblemError if the watch stops before the pairing has ended.
   * @returns {AsyncGenerator<Pairing, void, void>}
   */
  async *[Symbol.asyncIterator]() {
    /** @type {WatchState[]} */
    const states = [];
    let wake = () => {};
    const unsubscribe = this.subscribe((state) => {
      if (states.length === 0 || states[states.length - 1].pairing !== state.pairing || state.ended) states.push(state);
      wake();
    });
    try {
      /** @type {Pairing | undefined} */
      let told = undefined;
      for (;;) {
        const state = states.shift();
        if (!state) {
          await new Promise((resolve) => (wake = () => resolve(undefined)));
          continue;
        }
        if (state.pairing !== told) yield (told = state.pairing);
        if (state.stopped) throw new ProblemError(state.stopped, 0);
        if (state.ended) return;
      }
    } finally {
      unsubscribe();
      this.stop();
    }
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
      } catch (thrown) {
        const error = problemOf(thrown);
        silent = error.code === 'unreachable' || isTerminal(error);
      }
      if (silent && !this._stopped) this._socket?.renew();
    }
    if (!this._stopped) this._planCheck();
  }

  /** @param {Transport} transport */
  _report(transport) {
    if (this._stopped || transport === this.transport) return;
    this._store.change({ transport });
    this.onTransport(transport);
  }

  /** @param {string} code */
  _end(code) {
    if (this._stopped) return;
    this._store.change({ ended: true, stopped: code });
    this.stop();
    this.onStop(code);
  }

  /** @param {Pairing} pairing */
  _tellTime({ version, expiresIn, elapsedMs = undefined }) {
    const ends = performance.now() + expiresIn * 1000;
    // Of one version the end is fixed: heard again, it comes nearer only, by what was slept or was late on the way.
    this._ends = version === this._endOf ? Math.min(ends, this._ends) : ends;
    this._endOf = version;
    if (elapsedMs !== undefined) this._began = performance.now() - elapsedMs;
  }

  /** @param {Pairing} pairing */
  _isBehind({ version, status }) {
    return version < this._version || (version === this._version && status !== this._status);
  }

  /** @param {{since?: number, wait?: number, signal?: AbortSignal}} options */
  async _ask(options = {}) {
    const before = this._version;
    const pairing = await this._readWith(this._credential, options);
    this._tellTime(pairing);
    // Read after we knew better: the server has lost its last moments, and what it says now is the truth.
    if (this._version === before && this._isBehind(pairing)) this._version = 0;
    this.take(pairing);
  }

  /**
   * @param {LastingCredential} credential
   * @param {{since?: number, wait?: number, signal?: AbortSignal}} options
   */
  async _readWith(credential, options) {
    if ('secret' in credential) return this._calls.readPairing(this._id, credential, options);
    const authKey = await credential.authKey();
    try {
      return await this._calls.readPairing(this._id, { authKey }, options);
    } catch (thrown) {
      if (problemOf(thrown).http !== 401) throw thrown;
      return this._calls.readPairing(this._id, { authKey: await credential.authKey(authKey) }, options);
    }
  }

  _stopPolling() {
    this._poll?.abort();
    this._poll = null;
  }

  /** @param {number} pause */
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
        if (cut || !longest) await sleep(CUT, signal);
        failures = 0;
        wait = longest;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = problemOf(thrown);
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
