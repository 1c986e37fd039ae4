import { ProblemError } from './errors.js';
import { Store } from './store.js';
export type Pairing = import('./types.js').Pairing;
export type Login = import('./types.js').Login;
export type LoginOptions = {
    /**
     * as the approver reads it; default: what kind of browser it is
     */
    deviceName?: string;
    /**
     * names this installation, the same at each login; default: one that the client keeps
     */
    deviceCode?: string;
    /**
     * where the refreshKey goes; default: the cookie on the server's own origin
     */
    keys?: 'cookie' | 'body';
};
export type LoginState = {
    /**
     *   `shown`: a code waits to be scanned. `scanned`: the other device asks its person. `number`: the person types here
     *   the three digits that the other device shows. `ended`: no login came of it, and `start` begins again
     */
    step: 'idle' | 'starting' | 'shown' | 'scanned' | 'number' | 'logging-in' | 'logged-in' | 'ended';
    pairing?: Pairing;
    /**
     * what the picture says now
     */
    text?: string;
    /**
     * what can be typed in its place
     */
    userCode?: string;
    transport: import('./types.js').Transport;
    /**
     * after a wrong number
     */
    attemptsLeft?: number;
    /**
     * of the last try, which may go on: `step` says so
     */
    error?: ProblemError;
    /**
     * of `ended`
     */
    outcome?: 'denied' | 'cancelled' | 'expired' | 'failed';
    login?: Login;
};
export declare class LoginFlow {
    _client: {
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
        root: () => URL;
        installation: () => string;
        newSecret: () => string;
        proof: (method: string, url: string | URL, authKey: string, nonce?: string) => Promise<string | undefined>;
        canKeepKey: () => Promise<boolean>;
        keyIsOutOfReach: () => boolean;
        watchPairing: (pairing: import('./types.js').Pairing, credential: import('./types.js').LastingCredential, handlers?: Partial<import('./watch.js').WatchHandlers>) => import("./watch.js").PairingWatch;
        watchAccount: (credential: import('./types.js').LastingCredential, handlers: import('./account.js').AccountHandlers) => {
            stop: () => void;
        };
        drawCode: (pairing: import('./types.js').Pairing, watch: import("./watch.js").PairingWatch, draw: (text: string) => boolean | void) => Promise<undefined>;
    };
    _device: () => Record<string, string>;
    _options: LoginOptions;
    /** Grows with each start and stop: what an older turn still hears is about itself alone. */
    _turn: number;
    _began: number;
    _failures: number;
    _secret: string;
    /** @type {import('./watch.js').PairingWatch | null} */
    _watch: import('./watch.js').PairingWatch | null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    _retry: ReturnType<typeof setTimeout> | undefined;
    _wake: () => void | false;
    _idle: LoginState;
    _store: Store<LoginState>;
    subscribe: (listener: (value: LoginState) => void) => () => void;
    getSnapshot: () => LoginState;
    /**
     * @param {import('./index.js').Calls} client
     * @param {() => Record<string, string>} device  its headers
     * @param {LoginOptions} options
     */
    constructor(client: import('./index.js').Calls, device: () => Record<string, string>, options: LoginOptions);
    /** Seconds until the code on show, or the time to decide, runs out. */
    get left(): number;
    /** Shows a code, a new one if one is shown already. */
    start(): void;
    /** Takes the code back, and listens no more; the promise waits until nobody can scan it. */
    stop(): Promise<void>;
    /**
     * Sends the digits that the other device shows. A wrong number is no error that is thrown: the state says so.
     * @param {string} number
     */
    enterNumber(number: string): Promise<void>;
    /** @param {LoginState} state */
    _set(state: LoginState): void;
    /** @returns {Promise<unknown> | undefined} */
    _leave(): Promise<unknown> | undefined;
    _begin(): Promise<undefined>;
    /** @param {number} turn @param {ProblemError} error */
    _failedToBegin(turn: number, error: ProblemError): void;
    /** @param {number} turn @param {Pairing} pairing */
    _show(turn: number, pairing: Pairing): void;
    /** @param {string} code */
    _onStop(code: string): void;
    _renew(): void;
    /** @param {number} turn @param {Pairing} pairing */
    _onPairing(turn: number, pairing: Pairing): void;
    /** @param {number} turn @param {Pairing} pairing @param {string} [number] */
    _redeem(turn: number, pairing: Pairing, number?: string): Promise<void>;
    /** @param {'denied' | 'cancelled' | 'expired' | 'failed'} outcome @param {ProblemError} [error] */
    _end(outcome: 'denied' | 'cancelled' | 'expired' | 'failed', error?: ProblemError): void;
}
