import { PairingWatch } from './watch.js';
export { CloseCode } from './close-codes.js';
export { ProblemError } from './errors.js';
export { isRotating } from './rotating.js';
export { retryTransient } from './timing.js';
export { offWake, onWake } from './wake.js';
export { isFinal, PairingWatch } from './watch.js';
export type Pairing = import('./types.js').Pairing;
export type Login = import('./types.js').Login;
export type User = import('./types.js').User;
export type Status = import('./types.js').Status;
export type Transport = import('./types.js').Transport;
export type Credential = import('./types.js').Credential;
export type LastingCredential = import('./types.js').LastingCredential;
export type LoginFlow = import('./login-flow.js').LoginFlow;
export type LoginOptions = import('./login-flow.js').LoginOptions;
export type LoginState = import('./login-flow.js').LoginState;
export type WatchHandlers = import('./watch.js').WatchHandlers;
export type WatchState = import('./watch.js').WatchState;
export type Options = {
    /**
     * where the server is mounted; in a page it may be relative to the page
     */
    baseUrl: string | URL;
    /**
     * for what outlives the page; default: `localStorage`, where
     * there is one
     */
    storage?: import('./storage.js').StorageLike;
    fetch?: typeof globalThis.fetch;
    /**
     * where there is none, the client polls
     */
    WebSocket?: typeof globalThis.WebSocket;
    crypto?: Crypto;
};
export type Calls = ReturnType<typeof makeClient>;
export type Client = Calls & {
    loginFlow: (flow?: import('./login-flow.js').LoginOptions) => import('./login-flow.js').LoginFlow;
};
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
export declare function createClient(options: Options): Client;
/** @param {Options} options */
declare function makeClient(options: Options): {
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
    /** Where the server is mounted, with a slash at the end. */
    root: () => URL;
    /** Names this installation to itself, the same at each login: what `X-Device-Code` says. */
    installation: () => string;
    /** A secret of the new device's own: with it, a lost answer can be asked for again. */
    newSecret: () => string;
    /**
     * For calls with the authKey to a server of your own: what goes into their header `DPoP`; undefined without a key.
     * `nonce`: that server's `DPoP-Nonce`, once it has answered `use_dpop_nonce`.
     * @param {string} method @param {string | URL} url @param {string} authKey @param {string} [nonce]
     */
    proof: (method: string, url: string | URL, authKey: string, nonce?: string) => Promise<string | undefined>;
    /** Whether this browser can keep a key of the device's own. */
    canKeepKey: () => Promise<boolean>;
    /** Whether there may be a key that could not be read. */
    keyIsOutOfReach: () => boolean;
    /**
     * Watches a pairing until its end, by socket, and by long polling while no socket can be had.
     * @param {import('./types.js').Pairing} pairing  as last seen; only newer versions are reported
     * @param {import('./types.js').LastingCredential} credential
     * @param {Partial<import('./watch.js').WatchHandlers>} [handlers]
     */
    watchPairing: (pairing: import('./types.js').Pairing, credential: import('./types.js').LastingCredential, handlers?: Partial<import('./watch.js').WatchHandlers>) => PairingWatch;
    /**
     * Watches the account of a logged-in device.
     * @param {import('./types.js').LastingCredential} credential
     * @param {import('./account.js').AccountHandlers} handlers
     */
    watchAccount: (credential: import('./types.js').LastingCredential, handlers: import('./account.js').AccountHandlers) => {
        stop: () => void;
    };
    /**
     * Calls `draw` with what a pairing's picture has to say, again at each step of one that rotates, until it returns
     * false.
     * @param {import('./types.js').Pairing} pairing  as created
     * @param {PairingWatch} watch  its own
     * @param {(text: string) => boolean | void} draw
     */
    drawCode: (pairing: import('./types.js').Pairing, watch: PairingWatch, draw: (text: string) => boolean | void) => Promise<undefined>;
};
