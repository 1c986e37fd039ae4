// One socket that comes back by itself: capped backoff with full jitter, and what the close codes ask for.

import { CloseCode, SPREAD_CLOSE_CODES, TERMINAL_CLOSE_CODES } from './close-codes.js';
import { isTerminal, problemOf } from './errors.js';
import { backoff } from './timing.js';

const SUBPROTOCOL = 'pairing.v1';
const HANDSHAKE_LIMIT = 6000;
/** A socket that has held for so long is a good one. */
const SETTLED = 5000;
const CONNECTING = 0;

/**
 * @typedef {object} SocketHandlers
 * @property {(message: any) => void} onMessage
 * @property {() => void} [onUp]                it has held for a while
 * @property {(pause: number) => void} [onDown] gets the pause (ms) that the server asked for before anything else is tried
 * @property {(code: string) => void} onStop    it has ended, and coming back is pointless
 * @property {boolean} [greets]                 the server speaks as soon as it knows the credential
 */

export class ReconnectingSocket {
  /**
   * @param {import('./http.js').Http} http
   * @param {() => typeof WebSocket | undefined} implementation  undefined: there are no sockets here
   * @param {string} path
   * @param {import('./types.js').LastingCredential} credential
   * @param {SocketHandlers} handlers
   */
  constructor(http, implementation, path, credential, handlers) {
    this._http = http;
    this._implementation = implementation;
    this._path = path;
    this._credential = credential;
    this._onMessage = handlers.onMessage;
    this._onUp = handlers.onUp ?? (() => {});
    this._onDown = handlers.onDown ?? (() => {});
    this._onStop = handlers.onStop;
    this._greets = handlers.greets ?? false;
    /** @type {WebSocket | null} */
    this._socket = null;
    this._failures = 0;
    this._renewed = this._provedAgain = false;
    /** @type {string | undefined} */
    this._stale = undefined;
    this._connecting = this._stopped = false;
    /** @type {Record<'retry' | 'limit' | 'settled', ReturnType<typeof setTimeout> | undefined>} */
    this._timers = { retry: undefined, limit: undefined, settled: undefined };
    this._connect();
  }

  /** Connects again at once, even if the present socket seems to be open. */
  renew() {
    // One that is still connecting is as new as it gets, and has its limit.
    if (this._stopped || this._socket?.readyState === CONNECTING) return;
    this._drop();
    this._connect();
  }

  stop() {
    this._stopped = true;
    clearTimeout(this._timers.retry);
    clearTimeout(this._timers.limit);
    this._socket?.close(CloseCode.DONE);
  }

  /** Lets go of the present socket: what it may still say, even that another has taken over, is about itself alone. */
  _drop() {
    const socket = this._socket;
    if (!socket) return;
    this._socket = null;
    clearTimeout(this._timers.limit);
    clearTimeout(this._timers.settled);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(CloseCode.DONE);
  }

  async _connect() {
    clearTimeout(this._timers.retry);
    if (this._stopped || this._connecting) return;
    const Socket = this._implementation();
    if (!Socket) return this._onDown(0);
    this._connecting = true;
    try {
      const hello = await this._greeting();
      this._stale = undefined;
      if (!this._stopped) this._open(Socket, hello);
    } catch (thrown) {
      const error = problemOf(thrown);
      if (isTerminal(error)) this._end(error.code);
      else this._retry(0);
    } finally {
      this._connecting = false;
    }
  }

  /** @returns {Promise<{type: 'auth', secret?: string, authKey?: string, proof?: string}>} */
  async _greeting() {
    if ('secret' in this._credential) return { type: 'auth', secret: this._credential.secret };
    const authKey = await this._credential.authKey(this._stale);
    const proof = await this._http.deviceKey.proofFor('GET', this._http.urlOf(this._path), authKey);
    return { type: 'auth', authKey, proof };
  }

  /**
   * @param {typeof WebSocket} Socket
   * @param {{authKey?: string}} hello
   */
  _open(Socket, hello) {
    const url = this._http.urlOf(this._path);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = (this._socket = new Socket(url.href, SUBPROTOCOL));
    let retryAfter = 0;
    let refusedProof = false;
    // A proxy that swallows the upgrade, or what comes after it, leaves the socket without a word for minutes.
    this._timers.limit = setTimeout(() => {
      this._drop();
      this._retry(0);
    }, HANDSHAKE_LIMIT);
    socket.onopen = () => {
      if (!this._greets) clearTimeout(this._timers.limit);
      socket.send(JSON.stringify(hello));
      this._timers.settled = setTimeout(() => {
        this._failures = 0;
        this._renewed = this._provedAgain = false;
        this._onUp();
      }, SETTLED);
    };
    socket.onmessage = ({ data }) => {
      clearTimeout(this._timers.limit);
      const message = JSON.parse(data);
      if (message.type === 'retry') {
        retryAfter = message.retryAfter * 1000;
      } else if (message.type === 'nonce') {
        this._http.deviceKey.takeNonce(message.nonce);
        refusedProof = true;
      } else if (!this._stopped) {
        this._onMessage(message);
      }
    };
    socket.onclose = ({ code }) => {
      clearTimeout(this._timers.limit);
      clearTimeout(this._timers.settled);
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

  /** @param {number} pause */
  _retry(pause, restarting = false) {
    clearTimeout(this._timers.retry);
    // A restart meets every waiting device at once: the first attempts are spread over three seconds.
    const delay = pause + backoff(this._failures++, 30_000, restarting ? 3000 : 1000);
    this._timers.retry = setTimeout(() => this._connect(), delay);
    if (!restarting || this._failures > 1) this._onDown(pause);
  }

  /** @param {string} code */
  _end(code) {
    if (this._stopped) return;
    this.stop();
    this._onStop(code);
  }
}
