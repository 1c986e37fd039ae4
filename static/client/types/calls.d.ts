export type Pairing = import('./types.js').Pairing;
export type Login = import('./types.js').Login;
export type Credential = import('./types.js').Credential;
export type Keys = 'cookie' | 'body';
/**
 * @param {import('./http.js').Http} http
 * @param {() => Keys} usual  where the refreshKey goes if a caller does not say
 */
export declare const calls: (http: import('./http.js').Http, usual: () => Keys) => {
    /**
     * `qr` is `svg`, `png` or `none`.
     * @param {Credential} by
     * @returns {Promise<Pairing>}
     */
    createPairing: (by: Credential, { qr }?: {
        qr?: string | undefined;
    }) => Promise<Pairing>;
    /**
     * @param {string} id @param {string} code @param {Credential} by
     * @returns {Promise<Pairing>}
     */
    claimPairing: (id: string, code: string, by: Credential) => Promise<Pairing>;
    /**
     * A code that can wait for a press, for as long as the answer says and for this holder alone. Changes nothing.
     * @param {string} id @param {string} code @param {Credential} by
     * @returns {Promise<{code: string, expiresIn: number}>}
     */
    reserveCode: (id: string, code: string, by: Credential) => Promise<{
        code: string;
        expiresIn: number;
    }>;
    /**
     * @param {string} userCode @param {Credential} by
     * @returns {Promise<Pairing>}
     */
    claimTypedCode: (userCode: string, by: Credential) => Promise<Pairing>;
    /**
     * With `wait` (seconds), answers as soon as the version is beyond `since`.
     * @param {string} id @param {Credential} by
     * @param {{since?: number, wait?: number, signal?: AbortSignal}} [options]
     * @returns {Promise<Pairing>}
     */
    readPairing: (id: string, by: Credential, { since, wait, signal }?: {
        since?: number;
        wait?: number;
        signal?: AbortSignal;
    }) => Promise<Pairing>;
    /**
     * What this session may still decide or show, the newest first.
     * @param {string} authKey
     * @returns {Promise<{pairings: Pairing[]}>}
     */
    listPairings: (authKey: string) => Promise<{
        pairings: Pairing[];
    }>;
    /**
     * Says whether the new device's page is there or just being left.
     * @param {string} id @param {string} secret @param {boolean} here
     * @returns {Promise<Pairing>}
     */
    tellPresence: (id: string, secret: string, here: boolean) => Promise<Pairing>;
    /**
     * @param {string} id @param {string} authKey
     * @returns {Promise<Pairing>}
     */
    approvePairing: (id: string, authKey: string) => Promise<Pairing>;
    /**
     * @param {string} id @param {string} authKey
     * @returns {Promise<Pairing>}
     */
    denyPairing: (id: string, authKey: string, { report }?: {
        report?: boolean | undefined;
    }) => Promise<Pairing>;
    /** @param {string} id @param {Credential} by @returns {Promise<null>} */
    cancelPairing: (id: string, by: Credential) => Promise<null>;
    /**
     * @param {string} id @param {string} secret
     * @param {{number?: string, keys?: Keys}} [options]
     * @returns {Promise<Login>}
     */
    logIn: (id: string, secret: string, { number, keys }?: {
        number?: string;
        keys?: Keys;
    }) => Promise<Login>;
    /**
     * @param {string} code @param {Credential} by @param {{keys?: Keys}} [options]
     * @returns {Promise<Login>}
     */
    acceptInvite: (code: string, by: Credential, { keys }?: {
        keys?: Keys;
    }) => Promise<Login>;
    /**
     * Once the person has come back from the provider that the server knows: its cookie says so, in place of a secret.
     * @param {Record<string, string>} device @param {{keys?: Keys, unbound?: boolean}} [options]
     * @returns {Promise<Login>}
     */
    logInByProvider: (device: Record<string, string>, { keys, unbound }?: {
        keys?: Keys;
        unbound?: boolean;
    }) => Promise<Login>;
    /**
     * The refreshKey is in the cookie, or given.
     * @param {{refreshKey?: string, keys?: Keys}} [options]
     * @returns {Promise<Login>}
     */
    refreshKeys: ({ refreshKey, keys }?: {
        refreshKey?: string;
        keys?: Keys;
    }) => Promise<Login>;
    /** @param {string} authKey @returns {Promise<null>} */
    logOut: (authKey: string) => Promise<null>;
    /** @param {string} authKey */
    whoAmI: (authKey: string) => Promise<any>;
    /** @param {string} authKey */
    listDevices: (authKey: string) => Promise<any>;
    /**
     * A page, newest first; `before`: what `next` said on the one before.
     * @param {string} authKey @param {{only?: 'logins' | 'other', before?: string}} [query]
     */
    listActivity: (authKey: string, query?: {
        only?: 'logins' | 'other';
        before?: string;
    }) => Promise<any>;
    /** @param {string} id @param {string} name @param {string} authKey */
    renameDevice: (id: string, name: string, authKey: string) => Promise<any>;
    /**
     * What a browser subscribes to push messages with: `applicationServerKey`, null where the server sends none.
     * @returns {Promise<{applicationServerKey: string | null}>}
     */
    pushKey: () => Promise<{
        applicationServerKey: string | null;
    }>;
    /**
     * Where this very device gets its push messages: `JSON.stringify` of a `PushSubscription`, or "" for nowhere.
     * @param {string} id @param {string} address @param {string} authKey
     */
    setPushAddress: (id: string, address: string, authKey: string) => Promise<any>;
    /**
     * `descendants`: also every device it let in.
     * @param {string} id @param {string} authKey @returns {Promise<null>}
     */
    revokeDevice: (id: string, authKey: string, { descendants }?: {
        descendants?: boolean | undefined;
    }) => Promise<null>;
    /** @param {string} authKey */
    revokeOthers: (authKey: string) => Promise<any>;
    /** What to ask `navigator.credentials` for, bytes as base64url. @param {string} authKey */
    passkeyOptions: (authKey: string) => Promise<any>;
    /** @param {string} authKey */
    stepUpOptions: (authKey: string) => Promise<any>;
    /** @param {string} name @param {object} credential @param {string} authKey */
    addPasskey: (name: string, credential: object, authKey: string) => Promise<any>;
    /** @param {string} authKey */
    listPasskeys: (authKey: string) => Promise<any>;
    /** @param {string} id @param {string} authKey @returns {Promise<null>} */
    removePasskey: (id: string, authKey: string) => Promise<null>;
    /** @param {string} authKey */
    listApps: (authKey: string) => Promise<any>;
    /** @param {string} id @param {string} authKey @returns {Promise<null>} */
    revokeApp: (id: string, authKey: string) => Promise<null>;
    /**
     * After a 403 `step_up_required`; then repeat the call.
     * @param {{credential: object} | {hostToken: string}} proof @param {string} authKey
     */
    stepUp: (proof: {
        credential: object;
    } | {
        hostToken: string;
    }, authKey: string) => Promise<any>;
    /**
     * Answers an application's authorization request: `redirectTo`, or the `question` that the person has to decide first.
     * @param {{query: string, decision?: 'approve' | 'deny', started?: string}} request @param {string} authKey
     */
    authorize: (request: {
        query: string;
        decision?: 'approve' | 'deny';
        started?: string;
    }, authKey: string) => Promise<any>;
};
