// The page `/phone`: reads another device's code, or shows one. Logged in it lets others in; else it asks to be let in.

import {
  cancelPairing,
  claimPairing,
  createPairing,
  isFinal,
  listPairings,
  retryTransient,
  readPairing,
  root,
  watchPairing,
  whoAmI,
} from './pairing.js';
import { askWhetherShown } from './application.js';
import { askAboutCode, askForConsent, resume } from './consent.js';
import { keptHere } from './kept.js';
import { claimAndLogIn, enter, goOn, offerInvite } from './log-in.js';
import { comeBack } from './presence.js';
import { reader } from './reader.js';
import { watchAlerts } from './alerts.js';
import * as session from './session.js';
import { button, connection, countdown, h, moment, notice, qrPicture, row, step, to, userCode } from './ui.js';
import { explain } from './words.js';

const begin = () => enter({ loggedIn: drawLetIn, loggedOut: drawAskIn });

/** The code that this tab shows. */
const SHOWING = `pairing-showing:${root.pathname}`;

enter({
  async loggedIn() {
    watchAlerts();
    // A person who comes by a link wants something else; what still waits is offered beside the reader.
    if (!reloaded() || (!(await resume(begin)) && !(await showAgain()))) drawLetIn();
  },
  async loggedOut() {
    const waited = (await comeBack()).find(({ now }) => !isFinal(now) || now.status === 'consumed');
    if (waited) goOn(waited, begin);
    else drawAskIn();
  },
});
function reloaded() {
  const [entry] = /** @type {any[]} */ (performance.getEntriesByType('navigation'));
  // Safari told it the old way until 2021.
  return entry ? entry.type !== 'navigate' : performance.navigation?.type !== 0;
}

session.events.addEventListener('signed-out', () => location.reload());
session.events.addEventListener('signed-in', () => location.reload());

/** A refusal that is shown beside the reader like a server's. */
const refusal = (/** @type {import('./pairing.js').Initiator} */ initiator) =>
  Object.assign(new Error('wrong direction'), { code: 'wrong_direction', members: { initiator } });

function drawLetIn() {
  const onCode = async (code) => {
    if (code.kind === 'join') throw refusal('logged_in_device');
    if (code.kind === 'invite')
      return drawWrong({
        title: 'This is an invitation',
        text: 'It logs a new device in. This one is logged in already, so it was not used.',
      });
    const ask = () => askAboutCode(code.userCode, begin);
    if (code.kind === 'linked') return askWhetherShown(code.userCode, { yes: ask, again: begin });
    if (code.kind === 'typed') return ask();
    askForConsent(
      await retryTransient(() => session.withKey((authKey) => claimPairing(code.id, code.code, { authKey }))),
      begin,
    );
  };
  const quarantine = h('div', {});
  const open = h('div', {});
  step(
    {
      title: 'Let another device in',
      lead: 'Read the code that the new device shows. Nothing happens before you have said yes.',
    },
    quarantine,
    open,
    reader({ onCode, typedLabel: 'Type the code that it shows' }),
    h(
      'div',
      { class: 'others' },
      h('h2', {}, 'Can the new device scan better than this one?'),
      row(button('Show a code instead', showCode, { icon: 'screen', kind: 'secondary' })),
    ),
  );
  session
    .withKey(listPairings)
    .then(({ pairings }) => open.append(...pairings.filter(({ newDevice }) => newDevice).map(drawOpen)))
    .catch(() => {});
  session
    .withKey(whoAmI)
    .then((me) => {
      if (me.quarantineUntil)
        quarantine.append(
          notice(
            'info',
            h('strong', {}, 'This device is new.'),
            ' For your safety it can let others in from ',
            moment(me.quarantineUntil),
            ' on.',
          ),
        );
    })
    .catch(() => {});
}

/** One that this session may still decide or show: another tab has it, or its tab was closed. */
function drawOpen(/** @type {import('./pairing.js').Pairing} */ pairing) {
  const decided = pairing.status === 'approved';
  return notice(
    'info',
    h('p', {}, waitsText(pairing)),
    row(
      button(decided ? 'Go on' : 'See who asks', () => askForConsent(pairing, begin), { kind: 'small secondary' }),
    ),
  );
}

function waitsText(/** @type {import('./pairing.js').Pairing} */ { client, status }) {
  const who = client ? 'An application' : 'A device';
  return status === 'approved' ? `${who} that you have allowed is coming in.` : `${who} waits for your answer.`;
}

function drawAskIn() {
  const onCode = async (code) => {
    if (code.kind === 'pair' || code.kind === 'linked') throw refusal('new_device');
    if (code.kind === 'invite') return offerInvite(code.code, begin);
    await claimAndLogIn(code.kind === 'typed' ? { userCode: code.userCode } : code, begin);
  };
  step(
    {
      title: 'Log in this device',
      lead: 'It is not logged in yet. On a device that is, choose “Show a code instead”, and read that code here.',
    },
    reader({ onCode, typedLabel: 'Type the code that it shows' }),
    h(
      'div',
      { class: 'others' },
      h('h2', {}, 'Would you rather show a code here?'),
      row(h('a', { class: 'button secondary', href: to('') }, h('span', {}, 'Show a code'))),
    ),
  );
}

/** Flow 1: this device shows, the new one scans. */
async function showCode() {
  drawCode(await session.withKey((authKey) => createPairing({ authKey }, { qr: 'none' })));
}

/** After a reload: the same code, or the device that has scanned it meanwhile. @returns {Promise<boolean>} */
async function showAgain() {
  try {
    const pairing = JSON.parse(keptHere.get(SHOWING) ?? 'null');
    if (!pairing) return false;
    const now = await session.withKey((authKey) => readPairing(pairing.id, { authKey }));
    if (!isFinal(now) && now.newDevice) askForConsent({ ...pairing, ...now }, begin);
    else if (!isFinal(now)) drawCode(pairing, now);
    else keptHere.remove(SHOWING);
    return !isFinal(now);
  } catch {
    return false;
  }
}

/** `pairing` as it was created, with its code, and as it is `now`. */
function drawCode(pairing, now = pairing) {
  keptHere.set(SHOWING, JSON.stringify(pairing));
  const watch = watchPairing(now, session.credential);
  const link = connection(watch.transport);
  const cancel = async () => {
    watch.stop();
    keptHere.remove(SHOWING);
    await session.withKey((authKey) => cancelPairing(pairing.id, { authKey })).catch(() => {});
    begin();
  };
  watch.onTransport = link.set;
  watch.onStop = (code) => drawWrong(explain({ code }));
  watch.onPairing = (next) => {
    keptHere.remove(SHOWING);
    if (next.newDevice) askForConsent({ ...pairing, ...next }, begin, watch);
    else drawPutAway(next.status);
  };
  step(
    {
      title: 'Add another device',
      lead: 'Scan this code with the new device’s camera. You are asked here before it gets in.',
    },
    h('div', { class: 'code-place' }, qrPicture(pairing, 'for adding another device', watch)),
    countdown(watch, (left) => `Valid for ${left}`),
    h('div', { class: 'typing' }, h('h2', {}, 'Cannot scan? Type this code there'), userCode(pairing.userCode)),
    notice(
      'caution',
      h('strong', {}, 'Show this code to nobody else and send it to nobody.'),
      ' A device that scans it asks to be let into your account.',
    ),
    link.node,
    row(button('Cancel', cancel, { kind: 'plain' })),
  );
}

function drawPutAway(status) {
  step(
    {
      title: status === 'expired' ? 'The code is too old' : 'The code was put away',
      mark: ['calm', 'clock'],
      lead: 'Nobody scanned it.',
    },
    row(button('Show a new code', showCode), button('Back', begin, { kind: 'plain' })),
  );
}

function drawWrong({ title, text }) {
  step({ title, mark: ['calm', 'warning'], lead: text }, row(button('Back', begin)));
}
