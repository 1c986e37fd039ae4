// Small pieces that every page is built of: elements, steps, buttons, notices, times. Text only, never markup.

import './polyfills.js';
import { explain, quoted } from './words.js';
import { drawCode, root } from './pairing.js';

/**
 * Builds an element. Attributes that start with `on` are listeners; `false`, `null` and `undefined` leave one out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const STROKES = {
  check: 'M5 12.5l4.5 4.5L19 7.5',
  cross: 'M6 6l12 12M18 6L6 18',
  camera: 'M4 8h3l1.5-2.5h7L17 8h3v11H4zM12 16.5a3.25 3.25 0 1 0 0-6.5 3.25 3.25 0 0 0 0 6.5z',
  picture: 'M4 5h16v14H4zM4 16l4.5-4.5 4 4 3-3L20 17M15.5 9.5h.01',
  paste: 'M8 5H6v15h12V5h-2M9 3.5h6v3H9z',
  screen: 'M3.5 5h17v11h-17zM9 20h6M12 16v4',
  clock: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3.5 2',
  warning: 'M12 4l9 16H3zM12 10v4.5M12 17.2v.1',
  lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
  plus: 'M12 5v14M5 12h14',
  arrow: 'M5 12h14M13 6l6 6-6 6',
  hourglass: 'M7 4h10M7 20h10M8 4c0 5 8 5 8 16M16 4c0 5-8 5-8 16',
};

/** Decoration: hidden from screen readers. @param {keyof typeof STROKES} name */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', STROKES[name]);
  svg.append(path);
  return svg;
}

/** Who taps twice does not mean what has just taken the place of the first one. In milliseconds, as `data-inert`. */
const INERT = 500;
const CONTROLS = 'button, a.button, a.choice';
/** @type {WeakMap<Element, number>} */
const held = new WeakMap();

function hold(/** @type {HTMLElement} */ control) {
  clearTimeout(held.get(control));
  control.setAttribute('aria-disabled', 'true');
  const free = () => control.classList.contains('busy') || control.removeAttribute('aria-disabled');
  held.set(control, setTimeout(free, Number(control.dataset.inert) || INERT));
}

new MutationObserver((changes) => {
  for (const { addedNodes } of changes)
    for (const node of addedNodes) {
      if (!(node instanceof HTMLElement)) continue;
      if (node.matches(CONTROLS)) hold(node);
      node.querySelectorAll(CONTROLS).forEach(hold);
    }
}).observe(document.documentElement, { childList: true, subtree: true });

document.addEventListener(
  'click',
  (event) => {
    const control = event.target instanceof Element && event.target.closest('[aria-disabled="true"]');
    // Enter in a field clicks its form's button: there nobody has aimed at anything.
    if (!control || (control instanceof HTMLButtonElement && control.type === 'submit' && !event.detail)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  true,
);

const main = () => /** @type {HTMLElement} */ (document.querySelector('main'));
let drawn = 0;

/**
 * Replaces what the page shows. Focus goes to the heading, so that a screen reader reads the new step; not on the first
 * one, which nobody asked for.
 * @param {{title: any, lead?: any, mark?: [string, keyof typeof STROKES], wide?: boolean}} head
 * @param {...any} body
 */
export function step({ title, lead = null, mark = undefined, wide = false }, ...body) {
  const heading = h('h1', { tabindex: '-1' }, title);
  main().className = wide ? 'wide' : '';
  main().replaceChildren(
    h(
      'section',
      { class: 'step' },
      mark && h('div', { class: `mark ${mark[0]}` }, icon(mark[1])),
      heading,
      lead && h('p', { class: 'lead' }, lead),
      ...body,
    ),
  );
  document.title = `${heading.textContent} · Pairing`;
  if (drawn++) heading.focus({ preventScroll: true });
  if (drawn > 1) scrollTo({ top: 0 });
}

/** Tells a screen reader what changed inside the present step. */
export function say(/** @type {string} */ text) {
  const region = document.getElementById('announcements');
  if (region && region.textContent !== text) region.textContent = text;
}

/**
 * A button that is busy while its work runs and shows what went wrong beside itself.
 * @param {any} label
 * @param {() => any} work
 * @param {{kind?: string, icon?: keyof typeof STROKES, describe?: string}} [options]
 */
export function button(label, work, { kind = 'primary', icon: name = undefined, describe = undefined } = {}) {
  const node = h(
    'button',
    { type: 'button', class: kind, 'aria-label': describe, onclick: () => attempt(node, work) },
    name && icon(name),
    h('span', {}, label),
  );
  return node;
}

/** Runs `work` once at a time for this control; a problem becomes a notice after the control (or its row). */
export async function attempt(control, work) {
  if (control.classList.contains('busy')) return;
  const place = control.closest('.row, form') ?? control;
  if (place.nextElementSibling?.classList.contains('problem')) place.nextElementSibling.remove();
  control.setAttribute('aria-disabled', 'true');
  control.classList.add('busy');
  try {
    for (;;) {
      try {
        await work();
        break;
      } catch (error) {
        if (!canWait(error)) throw error;
        if (!(await waitOut(error.retryAfter, (waiting) => place.after(waiting)))) break;
      }
    }
  } catch (error) {
    place.after(notice('problem', explain(error).text));
  } finally {
    control.removeAttribute('aria-disabled');
    control.classList.remove('busy');
  }
}

/** After a 429 the page waits and goes on by itself, unless it takes longer than this (s). */
const WAITED_OUT = 300;

/** A button's work throws such an error on, and is done again. */
export const canWait = (/** @type {any} */ error) => error?.http === 429 && error.retryAfter <= WAITED_OUT;

/**
 * Says how long a refused call has to wait, and waits.
 * @param {number} seconds
 * @param {(node: HTMLElement) => void} place  puts what is said onto the page
 * @returns {Promise<boolean>}  false if the page has turned to something else meanwhile
 */
export function waitOut(seconds, place) {
  const end = performance.now() + seconds * 1000;
  const left = h('strong', { role: 'timer' }, minutes(seconds));
  const node = notice('caution', 'That was too often in a short time. This goes on by itself in ', left, '.');
  place(node);
  return new Promise((resolve) => {
    everySecond(node, () => {
      left.textContent = minutes((end - performance.now()) / 1000);
      if (!node.isConnected) return resolve(false);
      if (performance.now() < end) return;
      node.remove();
      resolve(true);
    });
  });
}

/** @type {Record<string, keyof typeof STROKES>} */
const NOTICES = { problem: 'warning', caution: 'warning', info: 'lock', good: 'check' };

/** `caution`: nothing is wrong, but the person has to take care. @param {'problem' | 'caution' | 'info' | 'good'} kind */
export function notice(kind, ...content) {
  return h(
    'div',
    { class: `notice ${kind}`, role: kind === 'problem' ? 'alert' : 'status' },
    icon(NOTICES[kind]),
    h('div', {}, ...content),
  );
}

export const row = (...buttons) => h('div', { class: 'row' }, ...buttons);
export const to = (/** @type {string} */ path) => new URL(path, root).href;
/** The address as a person reads and types it. */
export const address = (path = '') => `${root.host}${root.pathname}${path}`.replace(/\/$/, '');
/** The same within a sentence. */
export const addressIn = (path = '') => h('span', { translate: 'no' }, address(path));
export const visible = () => document.visibilityState === 'visible';

/** The account's name within a sentence, in its own direction. @param {any} user */
export const person = (user) => h('bdi', { translate: 'no' }, user?.displayName || user?.username);

/** A name that somebody else chose: a quotation, and whatever direction it is written in, its neighbours keep theirs. */
export const claimed = (/** @type {string} */ name) => h('bdi', { title: quoted(name, 128), translate: 'no' }, quoted(name));

/** @returns {string} `1:05` */
export function minutes(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** @returns {string} `12 seconds`, `3 minutes` */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [count, unit] =
    whole < 60
      ? [whole, 'second']
      : whole < 5400
        ? [Math.round(whole / 60), 'minute']
        : whole < 129_600
          ? [Math.round(whole / 3600), 'hour']
          : [Math.round(whole / 86_400), 'day'];
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/**
 * A moment in the reader's own words and time zone.
 * @param {string} iso
 * @param {{exact?: boolean}} [how]  `exact`: to the second
 */
export function momentText(iso, { exact = false } = {}) {
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const time = { hour: '2-digit', minute: '2-digit', ...(exact && { second: '2-digit' }) };
  return today
    ? `today, ${date.toLocaleTimeString(undefined, time)}`
    : date.toLocaleString(undefined, { day: 'numeric', month: 'short', year: 'numeric', ...time });
}

/** The same as an element; the exact one is in the tooltip. */
export const moment = (/** @type {string} */ iso, /** @type {{exact?: boolean}} */ how = {}) =>
  h('time', { datetime: iso, title: new Date(iso).toLocaleString() }, momentText(iso, how));

/**
 * Calls `tick` each second while `node` is on the page.
 * @param {Node} node
 * @param {() => void} tick
 */
export function everySecond(node, tick) {
  tick();
  const timer = setInterval(() => {
    if (!node.isConnected) clearInterval(timer);
    tick();
  }, 1000);
}

/**
 * Text that counts down to the end of a pairing; silent for screen readers, who can read it when they want to.
 * @param {{left: number}} watch
 * @param {(left: string) => string} phrase
 */
export function countdown(watch, phrase) {
  const node = h('p', { class: 'countdown', role: 'timer' });
  // The node joins the page only after this returns.
  queueMicrotask(() =>
    everySecond(node, () => {
      node.textContent = phrase(minutes(watch.left));
    }),
  );
  node.textContent = phrase(minutes(watch.left));
  return node;
}

const TRANSPORTS = {
  connecting: 'Connecting…',
  socket: 'Connected. This page reacts at once.',
  polling: 'The live connection is blocked here. This page asks the server regularly instead.',
  offline: 'No connection. Trying again…',
  busy: 'The server asks for a pause. This page goes on by itself.',
};

/** Says by which transport a watch hears of changes. @param {import('./pairing.js').Transport} transport */
export function connection(transport) {
  const text = h('span', {});
  const node = h('p', { class: 'connection' }, h('span', { class: 'dot' }), text);
  const set = (/** @type {import('./pairing.js').Transport} */ now) => {
    node.dataset.transport = now;
    text.textContent = TRANSPORTS[now];
    if (now !== 'connecting' && now !== 'socket') say(TRANSPORTS[now]);
  };
  set(transport);
  return { node, set };
}

/**
 * A QR code on white with its quiet zone, in dark mode too: readers need dark on light. Drawn here, which spares the
 * server 6 ms. One element all the time, under one name: what a screen reader says about it does not rotate.
 */
export function qrPicture(pairing, what, watch) {
  const alt = `QR code ${what}. Instead of scanning it you can type ${pairing.userCode}.`;
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', alt);
  svg.setAttribute('shape-rendering', 'crispEdges');
  import('./client/qr.js')
    .then(({ drawQr }) =>
      drawCode(pairing, watch, (text) => {
        if (svg.isConnected) drawQr(svg, text);
        return svg.isConnected;
      }),
    )
    .catch((error) => {
      console.warn(error);
      svg.replaceWith(notice('problem', 'The picture cannot be drawn here. Type the code instead.'));
    });
  return h('div', { class: 'qr' }, svg);
}

/** A typed code, read out letter by letter. */
export const userCode = (/** @type {string} */ code) =>
  h(
    'p',
    { class: 'user-code', translate: 'no' },
    h('span', { 'aria-hidden': 'true' }, code),
    h('span', { class: 'unseen' }, code.replace('-', '').split('').join(' ')),
  );
