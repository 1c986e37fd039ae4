import { TEXTS } from './texts.js';
export type LoginState = import('./login-flow.js').LoginState;
export type LoginFlow = import('./login-flow.js').LoginFlow;
export type Login = import('./types.js').Login;
declare const Base: typeof HTMLElement;
/**
 * Attributes: `base-url` (where the server is; needed unless `client` is set), `device-name`, `device-code`, `keys`
 * (`cookie` or `body`), `texts` (JSON), `manual` (waits for `start()`), `unconfirmed` (does not ask "is that you?").
 * Properties: `client`, `texts`, `state`. Events: `statechange` (`detail`: the state), `login` (`detail`: the keys and the
 * user, after the person has said that it is them). Slots: `lead`, `help`. Parts: `lead`, `picture`, `code`, `status`,
 * `number`, `button`.
 */
export declare class QrLogin extends Base {
    /** @type {import('./index.js').Client | null} */
    _client: import('./index.js').Client | null;
    /** @type {LoginFlow | null} */
    _flow: LoginFlow | null;
    /** @type {Partial<import('./texts.js').Texts>} */
    _texts: Partial<import('./texts.js').Texts>;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    _ticking: ReturnType<typeof setInterval> | undefined;
    _unsubscribe: () => void;
    /** @type {'asked' | 'confirmed' | 'refused' | null} whether the person is who has been logged in */
    _answer: 'asked' | 'confirmed' | 'refused' | null;
    _drawn: string;
    _parts: any;
    _using: import("./index.js").Client | undefined;
    _step: "ended" | "idle" | "logged-in" | "logging-in" | "number" | "scanned" | "shown" | "starting" | undefined;
    constructor();
    /** A client of your own, in place of `base-url`. */
    get client(): import("./index.js").Client | null;
    set client(client: import("./index.js").Client | null);
    /** Texts in another language: a JSON object. */
    get texts(): Partial<import("./texts.js").Texts>;
    set texts(texts: Partial<import("./texts.js").Texts>);
    /** What the login is at. @returns {LoginState | null} */
    get state(): LoginState | null;
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** Shows a code, a new one if one is shown already. */
    start(): void;
    /** Takes the code back. */
    stop(): void;
    _restart(): void;
    _follow(): void;
    _build(): any;
    /** @param {keyof typeof TEXTS} name @param {Record<string, string | number>} [values] */
    _text(name: keyof typeof TEXTS, values?: Record<string, string | number>): string;
    /** Writes what does not change with the state. */
    _label(): void;
    /** @param {LoginState} state */
    _draw(state: LoginState): void;
    /** @param {LoginState} state */
    _status({ step, transport, outcome, login }: LoginState): string;
    _tick(): void;
    _send(): undefined;
    /** Nobody should find themselves in somebody else's account: the page gets the keys after this answer. */
    _confirm(): void;
    _refuse(): Promise<void>;
}
export {};
