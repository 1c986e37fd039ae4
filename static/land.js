// The pages `/pair/{id}` and `/join/{id}`, where a system camera lands. Opening one changes nothing; a press may.

import { claimPairing, isRotating, reserveCode, newSecret, retryTransient, root } from './pairing.js';
import { askForConsent, resume } from './consent.js';
import { claimAndLogIn, drawLoggedIn, enter, goOn, offerInvite } from './log-in.js';
import { readUrl } from './link.js';
import { comeBack } from './presence.js';
import { arriveFromProvider, providerChoice } from './provider.js';
import * as session from './session.js';
import { address, button, canWait, h, person, row, step, to } from './ui.js';
import { explain, wrongDirection } from './words.js';

const code = readUrl(new URL(location.href));
// Neither the history nor a glance at the address bar shall give the code away. It lives on in this variable only.
history.replaceState(null, '', location.pathname);

const forJoining = location.pathname.startsWith(`${root.pathname}join/`);
const idInPath = location.pathname.split('/').pop() ?? '';
const leave = () => location.assign(to(session.user() ? 'phone' : ''));

if (code.kind === 'pair') enter({ loggedIn: () => offerConsent(code), loggedOut: explainLoggedOut });
else if (code.kind === 'join') enter({ loggedIn: explainLoggedIn, loggedOut: () => offerJoin(code) });
else if (forJoining && idInPath === 'upstream')
  enter({ loggedIn: explainSecondLogin, loggedOut: () => arriveFromProvider(leave) });
else if (code.kind === 'invite') enter({ loggedIn: explainInvite, loggedOut: () => offerInvite(code.code, leave) });
// A reload comes without the code. In between the person may have joined, even without having said "that is me" yet.
else
  enter({
    loggedIn: forJoining ? () => drawLoggedIn() : goOnDeciding,
    loggedOut: forJoining ? goOnWaiting : explainBroken,
  });

session.events.addEventListener('signed-out', leave);
// Another tab has logged in: a login that goes on here would replace it.
session.events.addEventListener('signed-in', leave);

/**
 * The code to claim with once the person has pressed. One that rotates would be stale by then, so it is exchanged for one
 * that waits: that changes nothing, and is of use to this holder alone.
 * @param {{id: string, code: string}} shown
 * @param {(call: (by: import('./pairing.js').Credential) => Promise<any>) => Promise<any>} withProof
 * @returns {Promise<string>}
 */
function waiting({ id, code: scanned }, withProof) {
  if (!isRotating(scanned)) return Promise.resolve(scanned);
  const kept = retryTransient(() => withProof((by) => reserveCode(id, scanned, by))).then(({ code }) => code);
  kept.catch((error) => {
    // No press would help, so it is said at once. Whatever else went wrong is said after one.
    if (error.code === 'not_found')
      drawRefusal({
        title: 'This code is too old',
        text: 'The picture changes every few seconds, and this code is no longer in it. Scan it once more.',
      });
  });
  return kept;
}

/** Loaded again on the card, or while the number was shown. */
async function goOnDeciding() {
  if (!(await resume(leave, idInPath))) explainBroken();
}

/** Loaded again while it waited for the other device. */
async function goOnWaiting() {
  const waited = (await comeBack()).find(({ now }) => now.id === idInPath);
  if (waited) goOn(waited, leave);
  else explainBroken();
}

function offerConsent({ id, code: scanned }) {
  const withProof = (call) => session.withKey((authKey) => call({ authKey }));
  const kept = waiting({ id, code: scanned }, withProof);
  const look = async () => {
    try {
      const code = await kept;
      askForConsent(await retryTransient(() => withProof((by) => claimPairing(id, code, by))), leave);
    } catch (error) {
      if (canWait(error)) throw error;
      drawRefusal(explain(error));
    }
  };
  step(
    {
      title: 'A device wants to log in',
      mark: ['calm', 'lock'],
      lead: 'You have scanned its code. See who asks before you decide.',
    },
    row(button('Ignore', leave, { kind: 'secondary' }), button('See who asks', look)),
    h('p', { class: 'hint' }, 'If somebody sent you this link, ignore it: it would let that person into your account.'),
  );
}

function offerJoin(shown) {
  const secret = newSecret();
  const kept = waiting(shown, (call) => call({ secret }));
  const join = () =>
    kept
      .then((code) => claimAndLogIn({ ...shown, code, secret }, leave))
      .catch((error) => {
        if (canWait(error)) throw error;
        drawRefusal(explain(error));
      });
  step(
    {
      title: 'Log in this device?',
      mark: ['calm', 'lock'],
      lead: 'You have scanned the code of a device that is logged in. It will be asked to let this one in.',
    },
    row(button('Cancel', leave, { kind: 'secondary' }), button('Log in this device', join)),
    h('p', { class: 'hint' }, 'Continue only if the other device is yours.'),
    providerChoice('Or without the other device'),
  );
}

function explainLoggedOut() {
  const { text } = wrongDirection('new_device');
  step(
    {
      title: 'This browser is not logged in',
      mark: ['calm', 'warning'],
      lead: `It cannot let another device in. ${text}`,
    },
    h(
      'p',
      {},
      'Are you logged in in another browser or on another device? Open ',
      h('strong', { class: 'where', translate: 'no' }, address('phone')),
      ' there and type the code that stands beside the picture, eight letters and digits.',
    ),
    h(
      'p',
      { class: 'hint' },
      'You can also log in this browser first. The code does not wait: scan it once more afterwards.',
    ),
    row(h('a', { class: 'button primary', href: to('') }, h('span', {}, 'Log in this browser'))),
  );
}

function explainLoggedIn() {
  const { title, text } = wrongDirection('logged_in_device');
  step(
    { title, mark: ['calm', 'warning'], lead: text },
    h(
      'p',
      {},
      'Or open ',
      h('strong', { class: 'where', translate: 'no' }, address()),
      ' on the new device, choose “Type it here” and type the code that stands beside the picture.',
    ),
    row(h('a', { class: 'button primary', href: to('phone') }, h('span', {}, 'Let a device in from here'))),
  );
}

function explainInvite() {
  step(
    {
      title: 'This invitation was not used',
      mark: ['calm', 'warning'],
      lead: ['You are already logged in here as ', person(session.user()), '. An invitation logs a new device in.'],
    },
    h(
      'p',
      {},
      'Open it on the device that it is meant for. If it is meant for this one, log out first and open it again.',
    ),
    row(h('a', { class: 'button primary', href: to('devices') }, h('span', {}, 'Your devices'))),
  );
}

function explainSecondLogin() {
  step(
    {
      title: 'You are logged in already',
      mark: ['calm', 'warning'],
      lead: ['You are logged in here as ', person(session.user()), '. Nothing was changed.'],
    },
    h('p', {}, 'To log in as somebody else here, log out first, then start again.'),
    row(h('a', { class: 'button primary', href: to('devices') }, h('span', {}, 'Your devices'))),
  );
}

function explainBroken() {
  drawRefusal({
    title: 'This link is incomplete',
    text: 'Its secret part is missing: it works once, straight from the code. Scan the code again, or type the one beside it.',
  });
}

function drawRefusal({ title, text }) {
  step(
    { title, mark: ['calm', 'warning'], lead: text },
    row(
      session.user()
        ? h('a', { class: 'button primary', href: to('phone') }, h('span', {}, 'Let a device in'))
        : h('a', { class: 'button primary', href: root.href }, h('span', {}, 'To the start page')),
    ),
    !session.user() && forJoining && providerChoice('Or without a code'),
  );
}
