// Watches an account, for a logged-in device: what comes and goes in it, and whether this session still lives.

import { ReconnectingSocket } from './socket.js';
import { isVisible, offWake, onWake } from './wake.js';

/** How often (ms) a page without a socket asks what has become of the account. */
const ACCOUNT_POLL = 10_000;

/**
 * @typedef {object} AccountHandlers
 * @property {(event: {type: string, device?: any, passkey?: any, app?: any}) => void} onEvent
 *   `device.added`, `device.revoked`, `passkey.added`, `passkey.removed`, `app.added`, `app.revoked`
 * @property {() => void} [onPoll]            asks by itself for the present state
 * @property {(code: string) => void} [onStop]
 */

/**
 * `onPoll` is called at the start, each time a socket has opened (nothing tells what happened before that), and, while no
 * socket is open and the page can be seen, at once and every 10 s. A socket that gave way to newer ones of the same
 * device comes back when the page is looked at.
 *
 * @param {import('./http.js').Http} http
 * @param {() => typeof WebSocket | undefined} sockets
 * @param {import('./types.js').LastingCredential} credential
 * @param {AccountHandlers} handlers
 */
export function watchAccount(http, sockets, credential, { onEvent, onPoll = () => {}, onStop = () => {} }) {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let polling = undefined;
  /** @type {ReconnectingSocket | null} */
  let socket = null;
  const poll = () => isVisible() && onPoll();
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
    new ReconnectingSocket(http, sockets, 'socket', credential, {
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
    if (isVisible()) socket = connect();
  };
  onPoll();
  socket = connect();
  onWake(wake);
  return { stop };
}
