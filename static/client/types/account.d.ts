export type AccountHandlers = {
    /**
     *   `device.added`, `device.revoked`, `passkey.added`, `passkey.removed`, `app.added`, `app.revoked`
     */
    onEvent: (event: {
        type: string;
        device?: any;
        passkey?: any;
        app?: any;
    }) => void;
    /**
     * asks by itself for the present state
     */
    onPoll?: () => void;
    onStop?: (code: string) => void;
};
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
export declare function watchAccount(http: import('./http.js').Http, sockets: () => typeof WebSocket | undefined, credential: import('./types.js').LastingCredential, { onEvent, onPoll, onStop }: AccountHandlers): {
    stop: () => void;
};
