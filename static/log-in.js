// The new device's side after its code was scanned, or after it scanned one: waiting, the number, "you are now …".
// Shared by every page where a login can end.

import {
  acceptInvite,
  cancelPairing,
  claimPairing,
  claimTypedCode,
  isFinal,
  logIn,
  newSecret,
  retryTransient,
  tellPresence,
  watchPairing,
} from './pairing.js';
import { watchAlerts } from './alerts.js';
import { deviceHeaders } from './device.js';
import { readNumber } from './link.js';
import { forget, heard, stay } from './presence.js';
import * as session from './session.js';
import { addressIn, attempt, button, canWait, connection, countdown, h, notice, person, row, step, to, waitOut } from './ui.js';
import { ENDS, explain, MISSED, SESSION_ENDS } from './words.js';

/** @typedef {import('./pairing.js').Pairing} Pairing */

/** Where a login on this page leads. */
let arrive = () => drawLoggedIn(true);

/** After this long without an answer the page says what it waits for. */
const SLOW = 2000;

/**
 * Claims the code that a logged-in device shows, then waits for its consent. Throws if the claim is refused.
 * @param {{id: string, code: string, secret?: string} | {userCode: string, secret?: string}} shown
 *   `secret`: the one for which the code was kept
 * @param {() => void} again  what "start again" does
 */
export async function claimAndLogIn(shown, again) {
  const { secret = newSecret() } = shown;
  const by = { secret, device: deviceHeaders() };
  const pairing = await retryTransient(() =>
    'id' in shown ? claimPairing(shown.id, shown.code, by) : claimTypedCode(shown.userCode, by),
  );
  follow({ pairing, secret, watch: watchPairing(pairing, { secret }), again });
}

/**
 * Goes with a scanned pairing to its end.
 * @param {{pairing: Pairing, secret: string, watch: ReturnType<typeof watchPairing>, again: () => void}} way
 */
export function follow(way) {
  const { watch, again } = way;
  let drawn = '';
  stay(way.pairing, way.secret);
  watch.onPairing = (pairing) => {
    way.pairing = pairing;
    heard(pairing);
    if (isFinal(pairing) && pairing.status !== 'consumed') forget(pairing.id);
    // A wrong number is a new version of the same status: what is being typed stays.
    if (pairing.status === drawn) return;
    drawn = pairing.status;
    if (pairing.status === 'approved') onApproved(way);
    else if (pairing.status === 'scanned') drawWaiting(way);
    // Consumed is this page's own doing: the login's answer says more.
    else if (pairing.status !== 'consumed') drawEnd(pairing.status, again);
  };
  const here = () => follow({ ...way, watch: watchPairing(way.pairing, { secret: way.secret }) });
  watch.onStop = (code) => {
    forget(way.pairing.id);
    drawProblem({ code: code === 'unauthenticated' ? 'not_found' : code }, code === 'taken_over' ? here : again);
  };
  watch.onPairing(way.pairing);
}

/**
 * Takes up what this tab waited for before it was loaded again.
 * @param {{pairing: Pairing, secret: string, now: Pairing}} found
 * @param {() => void} again
 */
export function goOn({ pairing, secret, now }, again) {
  const way = { pairing: { ...pairing, ...now }, secret, watch: watchPairing(now, { secret }), again };
  follow(way);
  // The answer to the login was lost with the page: for a while the server gives it again.
  if (now.status === 'consumed') redeem(way).catch((error) => drawProblem(error, again));
}

function drawWaiting({ pairing, secret, watch, again }) {
  const shown = pairing.initiator === 'new_device';
  const link = connection(watch.transport);
  watch.onTransport = link.set;
  const giveUp = async () => {
    watch.stop();
    forget(pairing.id);
    // The device that has scanned can't cancel, only leave: it ends soon.
    await (shown ? cancelPairing(pairing.id, { secret }) : tellPresence(pairing.id, secret, false)).catch(() => {});
    again();
  };
  step(
    {
      title: shown ? 'Scanned' : 'Waiting for your other device',
      mark: ['waiting', 'hourglass'],
      lead: shown
        ? 'Your other device has read the code. Now look at it: it asks whether to let this device in.'
        : 'It now asks whether to let this device in. Look at it and allow.',
    },
    countdown(watch, (left) => `Time left to decide: ${left}`),
    link.node,
    row(button('Cancel', giveUp, { kind: 'plain' })),
  );
}

function onApproved(way) {
  if (way.pairing.verification === 'number') return drawNumber(way);
  step({ title: 'Approved', mark: ['good', 'check'], lead: 'Logging you in…' });
  redeem(way).catch((error) => drawProblem(error, way.again));
}

function drawNumber(way) {
  const input = h('input', {
    id: 'number',
    class: 'number-input',
    inputmode: 'numeric',
    autocomplete: 'off',
    required: true,
    'aria-describedby': 'number-hint',
  });
  const problem = h('div', { role: 'alert', class: 'field-problem' });
  const submit = h('button', { class: 'primary', type: 'submit' }, h('span', {}, 'Log in'));
  const send = async () => {
    const number = readNumber(input.value);
    if (!number) {
      problem.textContent = 'The number has three digits.';
      input.focus();
      return;
    }
    try {
      await redeem(way, number);
    } catch (error) {
      if (canWait(error)) throw error;
      if (error.code !== 'number_mismatch') return drawProblem(error, way.again);
      const left = error.members.attemptsLeft;
      if (!left) {
        // The event that the pairing was denied would say less.
        way.watch.stop();
        forget(way.pairing.id);
        return drawEndWith(MISSED.title, MISSED.text, way.again);
      }
      problem.textContent = `${explain(error).text} ${left === 1 ? 'One try' : `${left} tries`} left.`;
      input.value = '';
      input.focus();
    }
  };
  step(
    {
      title: 'Type the number',
      mark: ['good', 'lock'],
      lead: 'Your other device shows three digits. Type them here to log in.',
    },
    h(
      'form',
      {
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          attempt(submit, send);
        },
      },
      h('label', { for: 'number' }, 'Number on your other device'),
      input,
      problem,
      submit,
    ),
    h('p', { class: 'hint', id: 'number-hint' }, 'Only ever type it where the address bar says ', addressIn(), '.'),
    countdown(way.watch, (left) => `Time left: ${left}`),
  );
  input.focus();
}

async function redeem(way, number = undefined) {
  // Stays when the login fails: its answer may be lost and its cookie not.
  session.markVisited();
  const login = await retryTransient(() => logIn(way.pairing.id, way.secret, { number }));
  way.watch.stop();
  forget(way.pairing.id);
  askIfThatIsYou(login, way.again);
}

/** Shown before an invite is used up. */
export function offerInvite(code, again) {
  const accept = async () => {
    session.markVisited();
    try {
      const by = { secret: newSecret(), device: deviceHeaders() };
      askIfThatIsYou(await retryTransient(() => acceptInvite(code, by)), again);
    } catch (error) {
      if (canWait(error)) throw error;
      const known =
        error.code === 'not_found'
          ? {
              title: 'This invitation is not valid',
              text: 'It is unknown, too old or already used. Ask for a new one.',
            }
          : explain(error);
      drawEndWith(known.title, known.text, again);
    }
  };
  step(
    {
      title: 'You have an invitation',
      mark: ['calm', 'lock'],
      lead: 'It logs this device in, without a password. It works once.',
    },
    h('p', {}, 'Continue only if you expected it, from somebody you know.'),
    row(button('Log in this device', accept)),
  );
}

/** The keys are kept only after this answer: nobody should find himself in somebody else's account. */
export function askIfThatIsYou(
  /** @type {import('./pairing.js').Login} */ login,
  again,
  { replaced = false } = {},
) {
  const { displayName, username } = login.user;
  const refuse = async () => {
    await session.leave(login.authKey);
    step(
      {
        title: 'You are logged out again',
        mark: ['calm', 'cross'],
        lead: 'Nothing was kept. Somebody may have tried to draw you into an account that is not yours.',
      },
      row(button('Start again', again)),
    );
  };
  step(
    {
      title: ['You are now ', person(login.user)],
      mark: replaced ? ['calm', 'warning'] : ['good', 'check'],
      lead: 'Is that you?',
    },
    h(
      'p',
      { class: 'identity', translate: 'no' },
      h('strong', {}, person(login.user)),
      displayName && displayName !== username && h('bdi', {}, username),
    ),
    replaced &&
      notice(
        'caution',
        h('strong', {}, 'This browser was logged in as somebody else.'),
        ' If you have not logged in as this user here, another site may have put this login in place of yours: say that it is not you.',
      ),
    row(
      button('Continue', () => {
        session.adopt(login);
        showUser();
        arrive();
      }),
    ),
    // Below, where no second tap on what led here can meet it.
    row(button('Not me', refuse, { kind: 'secondary' })),
  );
}

/** @param {boolean} [fresh]  right after a login */
export function drawLoggedIn(fresh = false) {
  const name = person(session.user());
  step(
    {
      title: fresh ? 'You are logged in' : ['You are already logged in as ', name],
      mark: ['good', 'check'],
      lead: fresh ? ['This device now belongs to ', name, '.'] : 'This browser needs no code.',
    },
    h(
      'nav',
      { class: 'choices', 'aria-label': 'What next' },
      h(
        'a',
        { class: 'choice', href: to('phone') },
        h('strong', {}, 'Let another device in'),
        h('span', {}, 'Scan its code, or show it one'),
      ),
      h(
        'a',
        { class: 'choice', href: to('devices') },
        h('strong', {}, 'Your devices'),
        h('span', {}, 'See, rename and log out devices'),
      ),
    ),
    row(
      button(
        'Log out',
        async () => {
          await session.leave();
          location.assign(to(''));
        },
        { kind: 'plain' },
      ),
    ),
    !fresh &&
      h('p', { class: 'hint' }, 'To log in as somebody else here, log out first. Nothing is replaced by itself.'),
  );
  showUser();
  watchAlerts();
}

/** Puts the user's name into the page's header, or takes it out. */
export function showUser() {
  const place = document.getElementById('who');
  if (place) place.textContent = session.user()?.displayName || session.user()?.username || '';
}

/**
 * Where every page begins: takes up the session, and asks again if a reload interrupted "is that you?".
 * @param {{loggedIn: () => void, loggedOut: () => void, confirmed?: () => void}} ways  `confirmed`: that was me, after
 *   each login on this page
 */
export async function enter({ loggedIn, loggedOut, confirmed = arrive }) {
  arrive = confirmed;
  let inside;
  const slow = setTimeout(
    () =>
      step({ title: 'One moment…', mark: ['waiting', 'hourglass'], lead: 'The server has not answered yet.' }),
    SLOW,
  );
  try {
    inside = await session.restore();
  } catch (error) {
    if (canWait(error)) {
      clearTimeout(slow);
      step({ title: 'Just a moment', mark: ['waiting', 'hourglass'] });
      const section = /** @type {HTMLElement} */ (document.querySelector('.step'));
      if (await waitOut(error.retryAfter, (node) => section.append(node))) enter({ loggedIn, loggedOut, confirmed });
      return;
    }
    const { title, text } = explain(error);
    step(
      { title, mark: ['bad', 'warning'], lead: text },
      // Under a foreign name no try will ever end otherwise.
      error.code !== 'foreign_origin' && row(button('Try again', () => enter({ loggedIn, loggedOut, confirmed }))),
    );
    return;
  } finally {
    clearTimeout(slow);
  }
  // Beside the point of every page, so that none depends on it.
  import('./self-check.js').then(({ drawSelfCheck }) => drawSelfCheck()).catch(console.warn);
  showUser();
  const unconfirmed = session.unconfirmed();
  const replaced = session.wasSomebody();
  if (inside && unconfirmed) askIfThatIsYou(unconfirmed, () => location.reload(), { replaced });
  else if (inside) loggedIn();
  else {
    const why = SESSION_ENDS[session.takeEnd() ?? ''];
    if (why) document.getElementById('alerts')?.append(notice('caution', why));
    loggedOut();
  }
}

export function drawProblem(error, again) {
  if (error.code === 'taken_over') {
    step(
      {
        title: 'This login goes on elsewhere',
        mark: ['calm', 'screen'],
        lead: 'Another window of this device has taken it over.',
      },
      row(button('Use here', again)),
    );
    return;
  }
  const { title, text } = explain(error);
  drawEndWith(title, text, again);
}

function drawEnd(status, again) {
  const [title, text] = ENDS[status];
  drawEndWith(title, text, again);
}

function drawEndWith(title, text, again) {
  step({ title, mark: ['bad', 'cross'], lead: text }, row(button('Start again', again)));
}
