// The page `/oauth/authorize`: logs a person in for an application, asks what it may have, and goes back to it.

import { picture } from './application.js';
import { offerCodes } from './code-board.js';
import { drawProblem, enter, showUser } from './log-in.js';
import { authorize, listPasskeys, retryTransient } from './pairing.js';
import * as session from './session.js';
import { knowsPasskeys, prove } from './step-up.js';
import { button, canWait, h, icon, person, row, step, waitOut } from './ui.js';
import { explain, scopeText } from './words.js';

/** Nobody reads what they share in less: a press that was meant for what stood here before must not share it. */
const INERT = 700;

const query = location.search.slice(1);
/** Who asks, as the server has written it into the page. */
const { client = '', host = '', started: atFirst } = document.body.dataset;
/** How things stood when the request came in: comes back with each call. */
let started = atFirst;
const theClient = () => h('bdi', { translate: 'no' }, client);
const theHost = () => h('bdi', { translate: 'no' }, host);

// The image that came with the page can't tell whether it arrives.
const logo = /** @type {HTMLImageElement | null} */ (document.querySelector('.client img'));
logo?.replaceWith(picture(client, logo.src));

const logIn = () => offerCodes({ stay: true });
enter({ loggedIn: goOn, loggedOut: logIn, confirmed: goOn });

session.events.addEventListener('signed-out', () => location.reload());
// Another tab has logged in: this one then needs no code of its own.
session.events.addEventListener('signed-in', () => location.reload());
// Back from the application, this page is as it was left, and its answer is spent.
addEventListener('pageshow', ({ persisted }) => persisted && location.reload());

/** Asks the server what comes next, without a press. */
async function goOn() {
  step({ title: 'One moment…', mark: ['waiting', 'hourglass'] });
  try {
    await answer();
  } catch (error) {
    if (!canWait(error)) return drawProblem(error, goOn);
    const section = /** @type {HTMLElement} */ (document.querySelector('.step'));
    if (await waitOut(error.retryAfter, (node) => section.append(node))) goOn();
  }
}

/** @param {'approve' | 'deny'} [decision] */
async function answer(decision = undefined) {
  try {
    const request = { query, decision, started };
    const { redirectTo, question } = await retryTransient(() => session.withKey((key) => authorize(request, key)));
    if (redirectTo) leaveFor(redirectTo, decision);
    else draw(question);
  } catch (error) {
    if (error.code !== 'authorization_stale') throw error;
    const { title, text } = explain(error);
    step({ title, mark: ['calm', 'clock'], lead: text }, row(button('Start again', () => location.reload())));
  }
}

function draw(question) {
  started = question.started;
  if (question.needs === 'consent') drawConsent(question);
  else if (question.needs === 'other_account') drawOtherAccount();
  else drawFreshLogin();
}

function drawConsent({ scopes, missing }) {
  const allow = button('Allow', () => answer('approve'), { kind: 'verdict approve', icon: 'check' });
  const deny = button('Deny', () => answer('deny'), { kind: 'verdict deny', icon: 'cross' });
  allow.dataset.inert = String(INERT);
  allow.setAttribute('aria-describedby', 'shared');
  const known = scopes.filter((scope) => !missing.includes(scope));
  step(
    {
      title: missing.length ? ['Share with ', theClient(), '?'] : ['Log in to ', theClient(), '?'],
      lead: ['You are logged in as ', person(session.user()), '.'],
    },
    h(
      'div',
      { class: 'card', id: 'shared' },
      missing.length > 0 && shared('It will', missing),
      known.length > 0 && shared('You have allowed before that it may', known),
    ),
    h('div', { class: 'row verdicts' }, deny, allow),
    h('p', { class: 'hint' }, 'Allow only if you have just come from ', theHost(), '. It gets nothing else of your account.'),
    row(button('Log in as somebody else', logInAnew, { kind: 'plain' })),
  );
}

const shared = (title, scopes) =>
  h(
    'div',
    { class: 'seen' },
    h('p', {}, title),
    h('ul', { class: 'shared' }, ...scopes.map((scope) => h('li', {}, icon('check'), h('span', {}, scopeText(scope))))),
  );

/** Logged in, but the application wants to know that the person is there now. */
async function drawFreshLogin() {
  const passkeys = knowsPasskeys() ? await session.withKey(listPasskeys).then((found) => found.passkeys) : [];
  const byPasskey = async () => {
    await prove();
    await answer();
  };
  step(
    {
      title: 'Show that it is you',
      mark: ['calm', 'lock'],
      lead: ['You are logged in here as ', person(session.user()), ', but ', theClient(), ' wants you to log in again.'],
    },
    row(
      passkeys?.length > 0 && button('Use your passkey', byPasskey),
      button('Show a code to scan', logIn, { kind: passkeys?.length ? 'secondary' : 'primary' }),
    ),
    row(button('Cancel', () => answer('deny'), { kind: 'plain' })),
  );
}

function drawOtherAccount() {
  step(
    {
      title: 'Another account is meant',
      mark: ['calm', 'warning'],
      lead: [theClient(), ' wants you to log in with another account than ', person(session.user()), '.'],
    },
    row(button('Log in as somebody else', logInAnew)),
    h('p', { class: 'hint' }, 'This browser is logged out before.'),
    row(button('Cancel', () => answer('deny'), { kind: 'plain' })),
  );
}

async function logInAnew() {
  await session.leave();
  showUser();
  logIn();
}

/** The answer counts once, so that there is no way back to this page. */
function leaveFor(to, decision) {
  step(
    {
      title: decision === 'deny' ? 'Nothing was shared' : 'You are logged in',
      mark: decision === 'deny' ? ['calm', 'cross'] : ['good', 'check'],
      lead: ['Going back to ', theClient(), '…'],
    },
    h(
      'p',
      { class: 'hint' },
      'Nothing happens? ',
      h('a', { href: to }, 'Go on to ', theHost()),
    ),
  );
  location.replace(to);
}
