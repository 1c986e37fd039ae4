// `<qr-login>`: logs this device in by a code that it shows. One element on the login flow, for any framework or none.
// Imported where there is no page, it defines nothing and harms nothing.

import { createClient } from './index.js';
import { drawQr } from './qr.js';
import { filled, TEXTS } from './texts.js';

/**
 * @typedef {import('./login-flow.js').LoginState} LoginState
 * @typedef {import('./login-flow.js').LoginFlow} LoginFlow
 * @typedef {import('./types.js').Login} Login
 */

const STYLE = `
  :host { display: block; max-width: 24rem; font: inherit; color: inherit; text-align: center }
  :host([hidden]), [hidden] { display: none !important }
  svg { display: block; width: var(--qr-login-size, 16rem); max-width: 100%; margin: 1rem auto; background: #fff;
        border-radius: var(--qr-login-radius, 0.5rem); forced-color-adjust: none }
  path { fill: #000 }
  output { font: 600 1.5em ui-monospace, monospace; letter-spacing: 0.1em; user-select: all }
  input { font: 600 1.5em ui-monospace, monospace; letter-spacing: 0.3em; width: 6ch; padding: 0.4em; text-align: center;
          color: inherit; background: transparent; border: 1px solid currentcolor; border-radius: 0.4rem }
  button { font: inherit; padding: 0.6em 1.2em; margin: 0.4em; border: 1px solid var(--qr-login-accent, #1a56db);
           border-radius: 0.4rem; color: var(--qr-login-accent-text, #fff); background: var(--qr-login-accent, #1a56db) }
  button.quiet { color: inherit; background: transparent; border-color: currentcolor }
  button:focus-visible, input:focus-visible { outline: 3px solid var(--qr-login-accent, #1a56db); outline-offset: 2px }
  label { display: block; margin: 0.6em 0 }
  .small { font-size: 0.875em; opacity: 0.85 }
`;

const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/**
 * Attributes: `base-url` (where the server is; needed unless `client` is set), `device-name`, `device-code`, `keys`
 * (`cookie` or `body`), `texts` (JSON), `manual` (waits for `start()`), `unconfirmed` (does not ask "is that you?").
 * Properties: `client`, `texts`, `state`. Events: `statechange` (`detail`: the state), `login` (`detail`: the keys and the
 * user, after the person has said that it is them). Slots: `lead`, `help`. Parts: `lead`, `picture`, `code`, `status`,
 * `number`, `button`.
 */
export class QrLogin extends Base {
  constructor() {
    super();
    /** @type {import('./index.js').Client | null} */
    this._client = null;
    /** @type {LoginFlow | null} */
    this._flow = null;
    /** @type {Partial<import('./texts.js').Texts>} */
    this._texts = {};
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._ticking = undefined;
    this._unsubscribe = () => {};
    /** @type {'asked' | 'confirmed' | 'refused' | null} whether the person is who has been logged in */
    this._answer = null;
    this._drawn = '';
    this._parts = this._build();
  }

  /** A client of your own, in place of `base-url`. */
  get client() {
    return this._client;
  }

  set client(client) {
    this._client = client;
    if (this.isConnected) this._restart();
  }

  /** Texts in another language: a JSON object. */
  get texts() {
    return this._texts;
  }

  set texts(texts) {
    this._texts = texts ?? {};
    this._label();
    if (this._flow) this._draw(this._flow.getSnapshot());
  }

  /** What the login is at. @returns {LoginState | null} */
  get state() {
    return this._flow?.getSnapshot() ?? null;
  }

  connectedCallback() {
    const given = this.getAttribute('texts');
    if (given) this._texts = JSON.parse(given);
    this._label();
    this._restart();
  }

  disconnectedCallback() {
    this.stop();
  }

  /** Shows a code, a new one if one is shown already. */
  start() {
    if (!this._flow) this._follow();
    this._answer = null;
    this._flow?.start();
  }

  /** Takes the code back. */
  stop() {
    clearInterval(this._ticking);
    this._unsubscribe();
    this._flow?.stop();
    this._flow = null;
  }

  _restart() {
    this.stop();
    // A framework sets its properties after the element is in the page.
    queueMicrotask(() => {
      if (!this.isConnected || this._flow || this.hasAttribute('manual')) return;
      if (this._client || this.hasAttribute('base-url')) this.start();
    });
  }

  _follow() {
    const client = this._client ?? createClient({ baseUrl: this.getAttribute('base-url') ?? '' });
    this._using = client;
    const keys = this.getAttribute('keys');
    const flow = client.loginFlow({
      deviceName: this.getAttribute('device-name') ?? undefined,
      deviceCode: this.getAttribute('device-code') ?? undefined,
      keys: keys === 'cookie' || keys === 'body' ? keys : undefined,
    });
    this._flow = flow;
    this._unsubscribe = flow.subscribe((state) => this._draw(state));
    this._ticking = setInterval(() => this._tick(), 1000);
  }

  _build() {
    /** @type {any} */
    const parts = {};
    if (!this.attachShadow) return parts;
    const root = this.attachShadow({ mode: 'open' });
    if ('adoptedStyleSheets' in root && 'replaceSync' in CSSStyleSheet.prototype) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
    } else {
      root.append(Object.assign(document.createElement('style'), { textContent: STYLE }));
    }
    /** @type {(tag: string, attributes?: Record<string, string>, ...children: Node[]) => HTMLElement} */
    const make = (tag, attributes = {}, ...children) => {
      const node = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      node.append(...children);
      return node;
    };
    const button = (/** @type {() => void} */ press, quiet = false) => {
      const node = make('button', { type: 'button', part: quiet ? 'button quiet' : 'button' });
      if (quiet) node.className = 'quiet';
      node.addEventListener('click', press);
      return node;
    };
    parts.lead = make('p', { part: 'lead' });
    parts.svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    parts.svg.setAttribute('role', 'img');
    parts.svg.setAttribute('part', 'picture');
    parts.typed = make('p', { class: 'small', id: 'typed' });
    parts.code = make('output', { part: 'code', translate: 'no', 'aria-labelledby': 'typed' });
    parts.left = make('p', { class: 'small' });
    parts.shown = make('div', {}, make('slot', { name: 'lead' }, parts.lead), parts.svg, parts.typed, parts.code, parts.left);
    parts.label = make('label', { for: 'number' });
    parts.input = make('input', {
      id: 'number', part: 'number', inputmode: 'numeric', autocomplete: 'off', maxlength: '8', 'aria-describedby': 'hint problem',
    });
    parts.hint = make('p', { class: 'small', id: 'hint' });
    parts.problem = make('p', { role: 'alert', id: 'problem' });
    parts.send = make('button', { type: 'submit', part: 'button' });
    parts.cancel = button(() => this.start(), true);
    parts.number = make('form', { novalidate: '' }, parts.label, parts.input, parts.problem, parts.hint, parts.send, parts.cancel);
    parts.number.addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this._send();
    });
    parts.status = make('p', { role: 'status', part: 'status' });
    parts.yes = button(() => this._confirm());
    parts.no = button(() => this._refuse(), true);
    parts.question = make('div', {}, parts.yes, parts.no);
    parts.again = button(() => this.start());
    root.append(parts.status, parts.shown, parts.number, parts.question, parts.again, make('slot', { name: 'help' }));
    return parts;
  }

  /** @param {keyof typeof TEXTS} name @param {Record<string, string | number>} [values] */
  _text(name, values = {}) {
    return filled(this._texts[name] ?? TEXTS[name], values);
  }

  /** Writes what does not change with the state. */
  _label() {
    const { lead, svg, typed, label, hint, send, cancel, yes, no, again } = this._parts;
    lead.textContent = this._text('lead');
    svg.setAttribute('aria-label', this._text('picture'));
    typed.textContent = this._text('typed');
    label.textContent = this._text('number');
    hint.textContent = this._text('numberHint');
    send.textContent = this._text('send');
    cancel.textContent = this._text('cancel');
    yes.textContent = this._text('yes');
    no.textContent = this._text('no');
    again.textContent = this._text('again');
  }

  /** @param {LoginState} state */
  _draw(state) {
    const parts = this._parts;
    const asking = state.step === 'logged-in' && this._answer === null && !this.hasAttribute('unconfirmed');
    if (state.step === 'logged-in' && this._answer === null && !asking) this._confirm();
    parts.shown.hidden = state.step !== 'shown' || !state.text;
    parts.number.hidden = state.step !== 'number';
    parts.question.hidden = !asking;
    parts.again.hidden = state.step !== 'ended' && this._answer !== 'refused';
    parts.status.textContent = this._status(state);
    if (state.step === 'shown') {
      if (state.text && state.text !== this._drawn) drawQr(parts.svg, (this._drawn = state.text));
      parts.code.textContent = state.userCode ?? '';
      this._tick();
    }
    if (state.step === 'number' && this._step !== 'number') {
      // After a wrong one, what was typed is in the way.
      parts.input.value = '';
      parts.problem.textContent =
        state.attemptsLeft === undefined ? '' : this._text('numberWrong', { left: state.attemptsLeft });
      parts.input.focus();
    }
    if (asking && this._step !== 'logged-in') parts.yes.focus();
    this._step = state.step;
    this.dispatchEvent(new CustomEvent('statechange', { detail: state }));
  }

  /** @param {LoginState} state */
  _status({ step, transport, outcome, login }) {
    const name = login?.user.displayName || login?.user.username || '';
    if (transport === 'offline' && step !== 'logged-in' && step !== 'ended') return this._text('offline');
    if (transport === 'busy' && step === 'starting') return this._text('busy');
    if (step === 'starting') return this._text('starting');
    if (step === 'scanned') return this._text('scanned');
    if (step === 'logging-in') return this._text('loggingIn');
    if (step === 'ended') return this._text(outcome ?? 'failed');
    if (step !== 'logged-in') return '';
    if (this._answer === 'refused') return this._text('refused');
    return this._text(this._answer ? 'loggedIn' : 'confirm', { name });
  }

  _tick() {
    const { left } = this._parts;
    const seconds = Math.ceil(this._flow?.left ?? 0);
    left.textContent = seconds > 0 ? this._text('left', { seconds }) : '';
  }

  _send() {
    const { input, problem } = this._parts;
    const number = input.value.normalize('NFKC').replace(/[\s-]/g, '');
    if (/^[0-9]{3}$/.test(number)) return void this._flow?.enterNumber(number);
    problem.textContent = this._text('numberForm');
    input.focus();
  }

  /** Nobody should find themselves in somebody else's account: the page gets the keys after this answer. */
  _confirm() {
    const state = this._flow?.getSnapshot();
    if (!state?.login) return;
    this._answer = 'confirmed';
    if (!this.hasAttribute('unconfirmed')) this._draw(state);
    this.dispatchEvent(new CustomEvent('login', { detail: state.login }));
  }

  async _refuse() {
    const state = this._flow?.getSnapshot();
    if (!state?.login) return;
    this._answer = 'refused';
    this._draw(state);
    await this._using?.logOut(state.login.authKey).catch(() => {});
  }
}

if (globalThis.customElements && !customElements.get('qr-login')) customElements.define('qr-login', QrLogin);
