// Logging this device in by a code that it shows, as one store: what a page draws, step by step. A page of its own
// without this file asks `createPairing`, `watchPairing` and `logIn` itself.

import { problemOf, ProblemError } from './errors.js';
import { Store } from './store.js';
import { backoff, retryTransient } from './timing.js';
import { isVisible, offWake, onWake } from './wake.js';
import { isFinal } from './watch.js';

/**
 * @typedef {import('./types.js').Pairing} Pairing
 * @typedef {import('./types.js').Login} Login
 *
 * @typedef {object} LoginOptions
 * @property {string} [deviceName]   as the approver reads it; default: what kind of browser it is
 * @property {string} [deviceCode]   names this installation, the same at each login; default: one that the client keeps
 * @property {'cookie' | 'body'} [keys]   where the refreshKey goes; default: the cookie on the server's own origin
 *
 * @typedef {object} LoginState
 * @property {'idle' | 'starting' | 'shown' | 'scanned' | 'number' | 'logging-in' | 'logged-in' | 'ended'} step
 *   `shown`: a code waits to be scanned. `scanned`: the other device asks its person. `number`: the person types here
 *   the three digits that the other device shows. `ended`: no login came of it, and `start` begins again
 * @property {Pairing} [pairing]
 * @property {string} [text]          what the picture says now
 * @property {string} [userCode]      what can be typed in its place
 * @property {import('./types.js').Transport} transport
 * @property {number} [attemptsLeft]  after a wrong number
 * @property {ProblemError} [error]   of the last try, which may go on: `step` says so
 * @property {'denied' | 'cancelled' | 'expired' | 'failed'} [outcome]   of `ended`
 * @property {Login} [login]
 */

/** A code nobody scans is replaced by a new one for so long (ms) after `start`, and then only when the page is looked at. */
const RENEW_FOR = 600_000;

export class LoginFlow {
  /**
   * @param {import('./index.js').Calls} client
   * @param {() => Record<string, string>} device  its headers
   * @param {LoginOptions} options
   */
  constructor(client, device, options) {
    this._client = client;
    this._device = device;
    this._options = options;
    /** Grows with each start and stop: what an older turn still hears is about itself alone. */
    this._turn = 0;
    this._began = 0;
    this._failures = 0;
    this._secret = '';
    /** @type {import('./watch.js').PairingWatch | null} */
    this._watch = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._retry = undefined;
    this._wake = () => this.getSnapshot().step === 'ended' && this.getSnapshot().outcome === 'expired' && this.start();
    /** @type {LoginState} */
    const idle = { step: 'idle', transport: 'connecting' };
    this._idle = idle;
    this._store = new Store(idle);
    this.subscribe = this._store.subscribe;
    this.getSnapshot = this._store.getSnapshot;
  }

  /** Seconds until the code on show, or the time to decide, runs out. */
  get left() {
    return this._watch?.left ?? 0;
  }

  /** Shows a code, a new one if one is shown already. */
  start() {
    this._leave();
    this._began = performance.now();
    onWake(this._wake);
    this._begin();
  }

  /** Takes the code back, and listens no more; the promise waits until nobody can scan it. */
  async stop() {
    const left = this._leave();
    this._set({ ...this._idle });
    await left;
  }

  /**
   * Sends the digits that the other device shows. A wrong number is no error that is thrown: the state says so.
   * @param {string} number
   */
  async enterNumber(number) {
    const { step, pairing } = this.getSnapshot();
    if (step === 'number' && pairing) await this._redeem(this._turn, pairing, number);
  }

  /** @param {LoginState} state */
  _set(state) {
    const before = this.getSnapshot();
    const cleared = Object.fromEntries(Object.keys(before).map((name) => [name, undefined]));
    this._store.change({ ...cleared, ...state });
  }

  /** @returns {Promise<unknown> | undefined} */
  _leave() {
    this._turn++;
    clearTimeout(this._retry);
    offWake(this._wake);
    const { step, pairing } = this.getSnapshot();
    this._watch?.stop();
    this._watch = null;
    if (!pairing || step !== 'shown') return undefined;
    return this._client.cancelPairing(pairing.id, { secret: this._secret }).catch(() => {});
  }

  async _begin() {
    const turn = this._turn;
    this._set({ step: 'starting', transport: 'connecting' });
    const secret = (this._secret = this._client.newSecret());
    try {
      const pairing = await this._client.createPairing({ secret, device: this._device() }, { qr: 'none' });
      if (turn !== this._turn) return void this._client.cancelPairing(pairing.id, { secret }).catch(() => {});
      this._failures = 0;
      this._show(turn, pairing);
    } catch (thrown) {
      if (turn === this._turn) this._failedToBegin(turn, problemOf(thrown));
    }
  }

  /** @param {number} turn @param {ProblemError} error */
  _failedToBegin(turn, error) {
    const passing = error.code === 'unreachable' || error.http === 429 || error.http >= 500;
    if (!passing) return this._end('failed', error);
    this._store.change({ error, transport: error.retryAfter ? 'busy' : 'offline' });
    const pause = error.retryAfter ? error.retryAfter * 1000 : backoff(this._failures++);
    this._retry = setTimeout(() => turn === this._turn && this._begin(), pause);
  }

  /** @param {number} turn @param {Pairing} pairing */
  _show(turn, pairing) {
    const watch = this._client.watchPairing(pairing, { secret: this._secret });
    this._watch = watch;
    this._set({ step: 'shown', pairing, userCode: pairing.userCode, transport: watch.transport });
    watch.onTransport = (transport) => turn === this._turn && this._store.change({ transport });
    watch.onStop = (code) => turn === this._turn && this._onStop(code);
    watch.onPairing = (next) => turn === this._turn && this._onPairing(turn, { ...pairing, ...next });
    this._client
      .drawCode(pairing, watch, (text) => {
        if (turn !== this._turn || this.getSnapshot().step !== 'shown') return false;
        this._store.change({ text });
      })
      .catch((error) => turn === this._turn && this._store.change({ error: problemOf(error) }));
  }

  /** @param {string} code */
  _onStop(code) {
    // The server has forgotten the pairing: a code that nobody scanned is simply replaced.
    if (code === 'not_found' && this.getSnapshot().step === 'shown') return this._renew();
    this._end('failed', new ProblemError(code, 0));
  }

  _renew() {
    this._leave();
    onWake(this._wake);
    if (performance.now() - this._began < RENEW_FOR && isVisible()) this._begin();
    else this._end('expired');
  }

  /** @param {number} turn @param {Pairing} pairing */
  _onPairing(turn, pairing) {
    const before = this.getSnapshot();
    if (pairing.status === 'scanned') {
      this._set({ step: 'scanned', pairing, transport: before.transport });
    } else if (pairing.status === 'approved') {
      // Heard again, by a version that a wrong number has raised, or while the login is on its way.
      if (before.step === 'logging-in' || before.step === 'number') return;
      if (pairing.verification === 'number') this._set({ step: 'number', pairing, transport: before.transport });
      else this._redeem(turn, pairing);
    } else if (pairing.status === 'expired' && before.step === 'shown') {
      this._renew();
    } else if (isFinal(pairing) && pairing.status !== 'consumed') {
      this._end(/** @type {'denied' | 'cancelled' | 'expired'} */ (pairing.status), before.error);
    }
  }

  /** @param {number} turn @param {Pairing} pairing @param {string} [number] */
  async _redeem(turn, pairing, number = undefined) {
    const { transport } = this.getSnapshot();
    this._store.change({ step: 'logging-in', pairing, error: undefined });
    try {
      const { keys } = this._options;
      const login = await retryTransient(() => this._client.logIn(pairing.id, this._secret, { number, keys }));
      if (turn !== this._turn) return;
      this._leave();
      this._set({ step: 'logged-in', login, transport });
    } catch (thrown) {
      if (turn !== this._turn) return;
      const error = problemOf(thrown);
      const attemptsLeft = error.members.attemptsLeft;
      if (error.code === 'number_mismatch' && !attemptsLeft) this._end('denied', error);
      else if (error.code === 'number_mismatch') this._store.change({ step: 'number', attemptsLeft, error });
      // The person asks again: what they typed was not looked at.
      else if (number !== undefined && error.http === 429) this._store.change({ step: 'number', error });
      else this._end('failed', error);
    }
  }

  /** @param {'denied' | 'cancelled' | 'expired' | 'failed'} outcome @param {ProblemError} [error] */
  _end(outcome, error = undefined) {
    this._leave();
    // A code that ran out while nobody looked comes back when somebody does.
    if (outcome === 'expired') onWake(this._wake);
    this._set({ step: 'ended', outcome, error, transport: 'connecting' });
  }
}
