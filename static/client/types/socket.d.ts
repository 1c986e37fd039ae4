export type SocketHandlers = {
    onMessage: (message: any) => void;
    /**
     * it has held for a while
     */
    onUp?: () => void;
    /**
     * gets the pause (ms) that the server asked for before anything else is tried
     */
    onDown?: (pause: number) => void;
    /**
     * it has ended, and coming back is pointless
     */
    onStop: (code: string) => void;
    /**
     * the server speaks as soon as it knows the credential
     */
    greets?: boolean;
};
/**
 * @typedef {object} SocketHandlers
 * @property {(message: any) => void} onMessage
 * @property {() => void} [onUp]                it has held for a while
 * @property {(pause: number) => void} [onDown] gets the pause (ms) that the server asked for before anything else is tried
 * @property {(code: string) => void} onStop    it has ended, and coming back is pointless
 * @property {boolean} [greets]                 the server speaks as soon as it knows the credential
 */
export declare class ReconnectingSocket {
    _http: import("./http.js").Http;
    _implementation: () => typeof WebSocket | undefined;
    _path: string;
    _credential: import("./types.js").LastingCredential;
    _onMessage: (message: any) => void;
    _onUp: () => void;
    _onDown: (pause: number) => void;
    _onStop: (code: string) => void;
    _greets: boolean;
    /** @type {WebSocket | null} */
    _socket: WebSocket | null;
    _failures: number;
    _renewed: boolean;
    _provedAgain: boolean;
    /** @type {string | undefined} */
    _stale: string | undefined;
    _connecting: boolean;
    _stopped: boolean;
    /** @type {Record<'retry' | 'limit' | 'settled', ReturnType<typeof setTimeout> | undefined>} */
    _timers: Record<'retry' | 'limit' | 'settled', ReturnType<typeof setTimeout> | undefined>;
    /**
     * @param {import('./http.js').Http} http
     * @param {() => typeof WebSocket | undefined} implementation  undefined: there are no sockets here
     * @param {string} path
     * @param {import('./types.js').LastingCredential} credential
     * @param {SocketHandlers} handlers
     */
    constructor(http: import('./http.js').Http, implementation: () => typeof WebSocket | undefined, path: string, credential: import('./types.js').LastingCredential, handlers: SocketHandlers);
    /** Connects again at once, even if the present socket seems to be open. */
    renew(): void;
    stop(): void;
    /** Lets go of the present socket: what it may still say, even that another has taken over, is about itself alone. */
    _drop(): void;
    _connect(): Promise<void>;
    /** @returns {Promise<{type: 'auth', secret?: string, authKey?: string, proof?: string}>} */
    _greeting(): Promise<{
        type: 'auth';
        secret?: string;
        authKey?: string;
        proof?: string;
    }>;
    /**
     * @param {typeof WebSocket} Socket
     * @param {{authKey?: string}} hello
     */
    _open(Socket: typeof WebSocket, hello: {
        authKey?: string;
    }): void;
    /** @param {number} pause */
    _retry(pause: number, restarting?: boolean): void;
    /** @param {string} code */
    _end(code: string): void;
}
