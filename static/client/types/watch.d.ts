import { ReconnectingSocket } from './socket.js';
import { Store } from './store.js';
export type Pairing = import('./types.js').Pairing;
export type Transport = import('./types.js').Transport;
export type LastingCredential = import('./types.js').LastingCredential;
export type WatchHandlers = {
    /**
     * a newer state
     */
    onPairing: (pairing: Pairing) => void;
    /**
     * the transport that is in use now
     */
    onTransport: (transport: Transport) => void;
    /**
     * the watch stopped although the pairing has not ended: `taken_over`,
     * `not_found`, `unauthenticated`, `account_locked`, `foreign_origin`, `bad_request`
     */
    onStop: (code: string) => void;
};
export type WatchState = {
    pairing: Pairing;
    transport: Transport;
    /**
     * nothing further comes
     */
    ended: boolean;
    /**
     * why, if the pairing has not ended
     */
    stopped?: string;
};
/** Whether nothing can change any more. */
export declare const isFinal: (/** @type {Pick<Pairing, 'status'>} */ pairing: Pick<Pairing, 'status'>) => boolean;
/**
 * Handlers may be given, or set later as properties. `subscribe` and `getSnapshot` give the same as a store, and
 * `for await (const pairing of watch)` as a sequence that begins with the present state; leaving the loop stops it.
 */
export declare class PairingWatch {
    onPairing: (pairing: Pairing) => void;
    onTransport: (transport: Transport) => void;
    onStop: (code: string) => void;
    _calls: {
        createPairing: (by: import("./calls.js").Credential, { qr }?: {
            qr?: string | undefined;
        }) => Promise<import("./calls.js").Pairing>;
        claimPairing: (id: string, code: string, by: import("./calls.js").Credential) => Promise<import("./calls.js").Pairing>;
        reserveCode: (id: string, code: string, by: import("./calls.js").Credential) => Promise<{
            code: string;
            expiresIn: number;
        }>;
        claimTypedCode: (userCode: string, by: import("./calls.js").Credential) => Promise<import("./calls.js").Pairing>;
        readPairing: (id: string, by: import("./calls.js").Credential, { since, wait, signal }?: {
            since?: number;
            wait?: number;
            signal?: AbortSignal;
        }) => Promise<import("./calls.js").Pairing>;
        listPairings: (authKey: string) => Promise<{
            pairings: import("./calls.js").Pairing[];
        }>;
        tellPresence: (id: string, secret: string, here: boolean) => Promise<import("./calls.js").Pairing>;
        approvePairing: (id: string, authKey: string) => Promise<import("./calls.js").Pairing>;
        denyPairing: (id: string, authKey: string, { report }?: {
            report?: boolean | undefined;
        }) => Promise<import("./calls.js").Pairing>;
        cancelPairing: (id: string, by: import("./calls.js").Credential) => Promise<null>;
        logIn: (id: string, secret: string, { number, keys }?: {
            number?: string;
            keys?: import("./calls.js").Keys;
        }) => Promise<import("./calls.js").Login>;
        acceptInvite: (code: string, by: import("./calls.js").Credential, { keys }?: {
            keys?: import("./calls.js").Keys;
        }) => Promise<import("./calls.js").Login>;
        logInByProvider: (device: Record<string, string>, { keys, unbound }?: {
            keys?: import("./calls.js").Keys;
            unbound?: boolean;
        }) => Promise<import("./calls.js").Login>;
        refreshKeys: ({ refreshKey, keys }?: {
            refreshKey?: string;
            keys?: import("./calls.js").Keys;
        }) => Promise<import("./calls.js").Login>;
        logOut: (authKey: string) => Promise<null>;
        whoAmI: (authKey: string) => Promise<any>;
        listDevices: (authKey: string) => Promise<any>;
        listActivity: (authKey: string, query?: {
            only?: 'logins' | 'other';
            before?: string;
        }) => Promise<any>;
        renameDevice: (id: string, name: string, authKey: string) => Promise<any>;
        pushKey: () => Promise<{
            applicationServerKey: string | null;
        }>;
        setPushAddress: (id: string, address: string, authKey: string) => Promise<any>;
        revokeDevice: (id: string, authKey: string, { descendants }?: {
            descendants?: boolean | undefined;
        }) => Promise<null>;
        revokeOthers: (authKey: string) => Promise<any>;
        passkeyOptions: (authKey: string) => Promise<any>;
        stepUpOptions: (authKey: string) => Promise<any>;
        addPasskey: (name: string, credential: object, authKey: string) => Promise<any>;
        listPasskeys: (authKey: string) => Promise<any>;
        removePasskey: (id: string, authKey: string) => Promise<null>;
        listApps: (authKey: string) => Promise<any>;
        revokeApp: (id: string, authKey: string) => Promise<null>;
        stepUp: (proof: {
            credential: object;
        } | {
            hostToken: string;
        }, authKey: string) => Promise<any>;
        authorize: (request: {
            query: string;
            decision?: 'approve' | 'deny';
            started?: string;
        }, authKey: string) => Promise<any>;
    };
    _id: string;
    _version: number;
    /** @type {string} */
    _status: string;
    _credential: import("./types.js").LastingCredential;
    _began: number;
    _ends: number;
    _endOf: number;
    _stopped: boolean;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    _check: ReturnType<typeof setTimeout> | undefined;
    /** @type {AbortController | null} */
    _poll: AbortController | null;
    /** @type {Promise<void> | null} */
    _reading: Promise<void> | null;
    /** @type {ReconnectingSocket | null} */
    _socket: ReconnectingSocket | null;
    _store: Store<WatchState>;
    subscribe: (listener: (value: WatchState) => void) => () => void;
    getSnapshot: () => WatchState;
    _wake: () => void;
    /**
     * @param {ReturnType<typeof import('./calls.js').calls>} calls
     * @param {import('./http.js').Http} http
     * @param {() => typeof WebSocket | undefined} sockets
     * @param {Pairing} pairing  as last seen; only newer versions are reported
     * @param {LastingCredential} credential
     * @param {Partial<WatchHandlers>} handlers
     */
    constructor(calls: ReturnType<typeof import('./calls.js').calls>, http: import('./http.js').Http, sockets: () => typeof WebSocket | undefined, pairing: Pairing, credential: LastingCredential, handlers: Partial<WatchHandlers>);
    /** The transport that is in use now. */
    get transport(): import("./types.js").Transport;
    /** Milliseconds since the pairing was created, by the server's clock as it was last heard. */
    get elapsed(): number;
    /** Seconds until the pairing expires, by the server's clock as it was last heard; below zero after that. */
    get left(): number;
    /** Asks for the present state once, beside the running watch. Never throws. */
    read(): Promise<void>;
    stop(): void;
    /** Takes up a state that came another way, such as the answer to approve. */
    take(/** @type {Pairing} */ pairing: Pairing): void;
    /**
     * Every newer state, the present one first. Throws ProblemError if the watch stops before the pairing has ended.
     * @returns {AsyncGenerator<Pairing, void, void>}
     */
    [Symbol.asyncIterator](): AsyncGenerator<Pairing, void, void>;
    _planCheck(): void;
    /** A connection can die without a close, and the server's pings are invisible here: a read finds it out. */
    _checkSocket(): Promise<void>;
    /** @param {Transport} transport */
    _report(transport: Transport): void;
    /** @param {string} code */
    _end(code: string): void;
    /** @param {Pairing} pairing */
    _tellTime({ version, expiresIn, elapsedMs }: Pairing): void;
    /** @param {Pairing} pairing */
    _isBehind({ version, status }: Pairing): boolean;
    /** @param {{since?: number, wait?: number, signal?: AbortSignal}} options */
    _ask(options?: {
        since?: number;
        wait?: number;
        signal?: AbortSignal;
    }): Promise<void>;
    /**
     * @param {LastingCredential} credential
     * @param {{since?: number, wait?: number, signal?: AbortSignal}} options
     */
    _readWith(credential: LastingCredential, options: {
        since?: number;
        wait?: number;
        signal?: AbortSignal;
    }): Promise<import("./types.js").Pairing>;
    _stopPolling(): void;
    /** @param {number} pause */
    _startPolling(pause: number): Promise<void>;
}
