// Shows a code by which this device wants to be let in, keeps it fresh, and logs in: on `/`, and for an application.

import { cancelPairing, createPairing, isFinal, newSecret, onWake, watchPairing } from './pairing.js';
import { deviceHeaders } from './device.js';
import { claimAndLogIn, drawProblem, follow, goOn } from './log-in.js';
import { readCode } from './link.js';
import { comeBack, forget, heard, stay } from './presence.js';
import { providerChoice } from './provider.js';
import {
  address,
  attempt,
  button,
  canWait,
  connection,
  h,
  minutes,
  notice,
  qrPicture,
  row,
  say,
  step,
  to,
  userCode,
  visible,
  waitOut,
} from './ui.js';
import { explain } from './words.js';

/** The successor appears this long before the end, so that a code that is being scanned never dies in the hand. */
const RENEW_EARLY = 15;
/** After this long nobody is coming; a press starts again. */
const RENEW_FOR = 10 * 60;
/** A page that was not run for this long has slept. */
const SLEPT = 5000;

/** @typedef {{pairing: any, secret: string, watch: ReturnType<typeof watchPairing>, lifetime: number}} Shown */

/** Codes that may still be scanned, the newest last. @type {Shown[]} */
let shown = [];
/** Changes when the page turns to something else; work started before then is dropped. */
let turn = 0;
let began = 0;
let lastTick = 0;
let notBefore = 0;
let asking = false;
let reading = false;
/** Whether the person may be sent to another page of ours. */
let roams = true;
/** @type {ReturnType<typeof board> | null} */
let view = null;

setInterval(tick, 1000);
onWake(wake);

/**
 * A page that is loaded again goes on with what it waited for, and shows the codes that it showed.
 * @param {{stay?: boolean}} [options]  `stay`: no link leads away from this page
 */
export async function offerCodes({ stay: staying = false } = {}) {
  roams = !staying;
  const found = await comeBack();
  const scanned = found.find(({ now }) => now.scannedAt && (!isFinal(now) || now.status === 'consumed'));
  if (scanned) goOn(scanned, showCodes);
  else showCodes(found.filter(({ pairing, now }) => pairing.qr && !isFinal(now)));
}

function showCodes(/** @type {Awaited<ReturnType<typeof comeBack>>} */ before = []) {
  leaveCodes();
  began = performance.now();
  lastTick = began;
  notBefore = 0;
  view = board();
  for (const { pairing, secret, now } of before) show(pairing, secret, now);
  if (!before.length) addCode();
}

/** Forgets the codes on show; those that nobody scanned are taken back. */
function leaveCodes(except = undefined) {
  turn++;
  view = null;
  for (const entry of shown) {
    if (entry === except) continue;
    entry.watch.stop();
    forget(entry.pairing.id);
    cancelPairing(entry.pairing.id, { secret: entry.secret }).catch(() => {});
  }
  shown = [];
}

async function addCode() {
  if (asking) return;
  asking = true;
  const mine = turn;
  const secret = newSecret();
  try {
    const pairing = await createPairing({ secret, device: deviceHeaders() }, { qr: 'none' });
    if (mine !== turn) {
      cancelPairing(pairing.id, { secret }).catch(() => {});
      return;
    }
    show(pairing, secret);
  } catch (error) {
    if (mine !== turn) return;
    notBefore = performance.now() + (error.retryAfter) * 1000;
    view?.setProblem(error);
  } finally {
    asking = false;
    // The page turned while this code was on its way: the new turn still waits for one.
    if (view && mine !== turn) addCode();
  }
}

/** `pairing` as it was created, with its code, and as it is `now`. */
function show(pairing, secret, now = pairing) {
  const entry = {
    pairing,
    secret,
    lifetime: pairing.expiresIn,
    watch: watchPairing(now, { secret }),
  };
  entry.watch.onPairing = (next) => onChange(entry, next);
  entry.watch.onTransport = (transport) => entry === shown.at(-1) && view?.setTransport(transport);
  entry.watch.onStop = (code) => onStop(entry, code);
  shown.push(entry);
  stay(pairing, secret);
  view?.setCode(entry);
}

/** @param {Shown} entry @param {import('./pairing.js').Pairing} now */
function onChange(entry, now) {
  heard(now);
  if (!now.scannedAt && now.status !== 'pending' && isFinal(now)) {
    // Nobody scanned it, and nobody will.
    drop(entry);
    tick();
  } else if (now.status !== 'pending') {
    // The first claim wins: the other codes are taken back, this one is followed.
    leaveCodes(entry);
    follow({ pairing: { ...entry.pairing, ...now }, secret: entry.secret, watch: entry.watch, again: showCodes });
  }
}

function onStop(entry, code) {
  drop(entry);
  if (code === 'not_found' || code === 'unauthenticated') {
    // A server that forgets what it has just made is not asked again at once.
    notBefore = performance.now() + SLEPT;
  } else if (!shown.length) {
    leaveCodes();
    drawProblem({ code }, showCodes);
  }
}

function drop(entry) {
  forget(entry.pairing.id);
  shown = shown.filter((other) => other !== entry);
  if (!shown.length) view?.clear();
}

function tick() {
  const now = performance.now();
  // Background tabs are not run for a while, without any sleep of the device.
  const slept = now - lastTick > SLEPT;
  lastTick = now;
  if (!view) return;
  if (slept) wake();
  const newest = shown.at(-1);
  const left = newest ? newest.watch.left : 0;
  view.setLeft(left);
  const due = !newest || left <= Math.min(RENEW_EARLY, newest.lifetime / 4);
  if (!due || reading || asking || !visible() || now < notBefore) return;
  if (now - began < RENEW_FOR * 1000) addCode();
  else if (left <= 0) rest();
}

/** What happened meanwhile comes first: a code that was scanned in the dark must not be replaced. */
async function wake() {
  if (reading || !view) return;
  reading = true;
  await Promise.all(shown.map((entry) => entry.watch.read()));
  reading = false;
  tick();
}

function rest() {
  leaveCodes();
  step(
    {
      title: 'Still there?',
      mark: ['calm', 'clock'],
      lead: 'The code has been put away, because nobody scanned it for a while.',
    },
    row(button('Show a new code', showCodes)),
  );
}

/** The step with the code. A small screen leads with what can be typed: a phone can hardly scan itself. */
function board() {
  const small = matchMedia('(max-width: 40rem)').matches;
  const code = h('div', { class: 'code-place', 'aria-busy': 'true' });
  const typed = h('div', { class: 'typed-place' });
  const trouble = h('div', {});
  const left = h('p', { class: 'countdown', role: 'timer' });
  const link = connection('connecting');

  const picture = h('div', { class: 'qr-side' }, code, left, link.node);
  const typing = h(
    'div',
    { class: 'typing' },
    h('h2', {}, small ? 'Type this code there, or scan the picture' : 'Cannot scan? Type this code there'),
    typed,
  );
  const others = h(
    'div',
    { class: 'others' },
    h('h2', {}, 'Does your other device show a code?'),
    row(
      button('Type it here', drawTyping, { kind: 'secondary' }),
      roams && h('a', { class: 'button secondary', href: to('phone') }, h('span', {}, 'Scan it')),
    ),
  );

  const beside = roams && providerChoice();

  if (small) {
    step(
      {
        title: 'Log in',
        lead: h(
          'span',
          {},
          'On a device where you are logged in, open ',
          h(roams ? 'a' : 'strong', { href: roams && to('phone'), class: 'where', translate: 'no' }, address('phone')),
        ),
      },
      trouble,
      typing,
      picture,
      others,
      beside,
    );
  } else {
    step(
      { title: 'Log in with a device you trust', wide: true },
      trouble,
      h(
        'div',
        { class: 'columns' },
        picture,
        h(
          'div',
          {},
          h(
            'ol',
            { class: 'steps' },
            h(
              'li',
              {},
              'On a device where you are logged in, open ',
              h('strong', { class: 'where', translate: 'no' }, address('phone')),
            ),
            h('li', {}, 'Scan this code with it'),
            h('li', {}, 'Check that it is this device, and allow'),
          ),
          typing,
          others,
          beside,
        ),
      ),
    );
  }

  return {
    /** @param {Shown} entry */
    setCode({ pairing, watch }) {
      trouble.replaceChildren();
      code.removeAttribute('aria-busy');
      code.replaceChildren(qrPicture(pairing, 'for logging in this device', watch));
      typed.replaceChildren(userCode(pairing.userCode));
      link.set(watch.transport);
      if (shown.length > 1) say('A new code is shown.');
    },
    setTransport: link.set,
    clear() {
      code.setAttribute('aria-busy', 'true');
      code.replaceChildren();
      typed.replaceChildren();
    },
    setLeft(/** @type {number} */ seconds) {
      left.textContent = shown.length ? `New code in ${minutes(seconds)}` : '';
    },
    setProblem(error) {
      if (!canWait(error)) return trouble.replaceChildren(notice('problem', explain(error).text));
      // A code is asked for again then, without any press.
      waitOut(error.retryAfter ?? 10, (node) => trouble.replaceChildren(node));
    },
  };
}

/** Flow 1 for those who cannot scan: the logged-in device shows a code, it is typed here. */
function drawTyping() {
  leaveCodes();
  const input = h('input', {
    id: 'typed',
    autocomplete: 'off',
    autocapitalize: 'characters',
    spellcheck: 'false',
    placeholder: 'XXXX-XXXX',
    required: true,
    'aria-describedby': 'typed-problem',
  });
  const problem = h('div', { class: 'field-problem', role: 'alert', id: 'typed-problem' });
  const send = h('button', { type: 'submit', class: 'primary' }, h('span', {}, 'Continue'));
  const submit = async () => {
    problem.textContent = '';
    const code = readCode(input.value);
    if (code.kind !== 'typed') {
      problem.textContent = 'A code has eight letters and digits, like K7QF-2M9X.';
      return input.focus();
    }
    try {
      await claimAndLogIn({ userCode: code.userCode }, showCodes);
    } catch (error) {
      problem.textContent = explain(error).text;
      input.focus();
    }
  };
  step(
    {
      title: 'Type the code',
      mark: ['calm', 'screen'],
      lead: 'On your other device choose “Show a code instead”, then type here what it shows.',
    },
    h(
      'form',
      {
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          attempt(send, submit);
        },
      },
      h('label', { for: 'typed' }, 'Code on your other device'),
      input,
      problem,
      send,
    ),
    row(button('Back', showCodes, { kind: 'plain' })),
  );
  input.focus();
}
