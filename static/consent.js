// The logged-in device's side after a scan: which device asks, allow or deny, and the result.

import {
  approvePairing,
  claimTypedCode,
  denyPairing,
  isFinal,
  listDevices,
  retryTransient,
  readPairing,
  root,
  watchPairing,
} from './pairing.js';
import { acknowledge } from './alerts.js';
import { whoAsks } from './application.js';
import { browserName, osName } from './device.js';
import { keptHere } from './kept.js';
import * as session from './session.js';
import { withProof } from './step-up.js';
import {
  addressIn,
  button,
  claimed,
  connection,
  countdown,
  everySecond,
  h,
  icon,
  moment,
  notice,
  person,
  row,
  say,
  span,
  step,
  to,
} from './ui.js';
import { consentWords, explain, MISSED, placeName, quoted, warnings } from './words.js';

/** @typedef {import('./pairing.js').Pairing} Pairing */

/** Nobody reads a card in less: a press that was meant for what stood here before must not approve. */
const INERT = 700;
/** The pairing that this tab decides about. */
const DECIDING = `pairing-deciding:${root.pathname}`;

/**
 * @param {Pairing} pairing  scanned
 * @param {() => void} again  where "done" leads
 * @param {ReturnType<typeof watchPairing>} [watch]  the one that saw the scan, if any
 */
export function askForConsent(pairing, again, watch = watchPairing(pairing, session.credential)) {
  // A reload of this tab comes back to it.
  keptHere.set(DECIDING, pairing.id);
  const done = () => {
    keptHere.remove(DECIDING);
    again();
  };
  const way = { pairing, again: done, watch, asked: 0, denying: false, missed: false, away: h('div', {}) };
  watch.onPairing = (now) => {
    const changed = now.status !== way.pairing.status;
    tellAway(way, now);
    if (now.number && !way.asked) way.asked = now.version;
    // Each wrong number is a version, and the third denies by itself.
    way.missed = now.status === 'denied' && !way.denying && Boolean(way.asked) && now.version >= way.asked + 3;
    way.pairing = now;
    if (changed) draw(way);
  };
  watch.onStop = (code) => drawEnd(explain({ code }), done);
  tellAway(way, pairing);
  draw(way);
}

/**
 * Claims a code that this person has typed, or has compared with what a device shows, and asks. Throws what the server
 * refuses with.
 * @param {string} code
 * @param {() => void} again
 */
export async function askAboutCode(code, again) {
  askForConsent(await retryTransient(() => session.withKey((authKey) => claimTypedCode(code, { authKey }))), again);
}

/**
 * Takes up what this tab was deciding or showing before it was loaded again.
 * @returns {Promise<boolean>}  whether there was anything
 */
export async function resume(/** @type {() => void} */ again, id = keptHere.get(DECIDING)) {
  if (!id) return false;
  try {
    const pairing = await retryTransient(() => session.withKey((authKey) => readPairing(id, { authKey })));
    if (!pairing.newDevice) return false;
    askForConsent(pairing, again);
    return true;
  } catch {
    keptHere.remove(DECIDING);
    return false;
  }
}

function tellAway(way, /** @type {Pairing} */ now) {
  const left = now.away && ['scanned', 'approved'].includes(now.status);
  way.away.replaceChildren(...(left ? [notice('caution', consentWords(way.pairing).left)] : []));
}

function draw(way) {
  const { pairing, again } = way;
  const words = consentWords(pairing);
  if (isFinal(pairing)) keptHere.remove(DECIDING);
  if (pairing.status === 'scanned' && pairing.obstacle === 'device_limit') drawFull(way);
  else if (pairing.status === 'scanned') drawCard(way);
  else if (pairing.status === 'approved') drawApproved(way);
  else if (pairing.status === 'consumed') drawFinished(way);
  else if (way.missed) drawEnd(MISSED, again);
  else if (pairing.status === 'denied') drawEnd(words.denied, again);
  else if (pairing.status === 'cancelled') drawEnd(words.cancelled, again);
  else drawEnd(pairing.away ? words.gone : words.expired, again);
}

/** After the decision too, whatever it calls itself is a quotation. */
const itsName = ({ client, newDevice }) =>
  client
    ? h('p', { class: 'quiet' }, 'It is ', h('strong', { translate: 'no' }, h('bdi', {}, client.name)))
    : h('p', { class: 'quiet' }, 'It calls itself ', claimed(newDevice.reported.name));

const NETWORKS = {
  same: ['same', 'The same network as this device'],
  different: ['different', 'A different network than this device'],
  unknown: ['different', 'It could not be compared with this device’s'],
};

function drawCard(way) {
  const { pairing } = way;
  const { client } = pairing;
  const words = consentWords(pairing);
  const { reported, observed } = pairing.newDevice;
  const scannedByMe = pairing.initiator === 'new_device';
  const agent = observed.userAgent ?? '';
  const [tone, network] = NETWORKS[observed.network] ?? NETWORKS.unknown;
  const report = h('input', { type: 'checkbox', id: 'report' });

  const approve = button('Allow', () => act(way, () => withProof((key) => approvePairing(pairing.id, key))), {
    kind: 'verdict approve',
    icon: 'check',
  });
  const deny = button(
    'Deny',
    () => act(way, () => session.withKey((key) => denyPairing(pairing.id, key, { report: report.checked }))),
    { kind: 'verdict deny', icon: 'cross' },
  );
  const tooNew = pairing.obstacle === 'device_quarantined';
  const warned = warnings(pairing);
  const warning = warned.texts.length > 0 && drawWarnings(warned);
  if (warned.texts.length) approve.setAttribute('aria-describedby', 'warnings');
  approve.dataset.inert = String(INERT);

  const age = h('dd', {});
  const life = (Date.parse(pairing.expiresAt) - Date.parse(pairing.createdAt)) / 1000;
  queueMicrotask(() =>
    everySecond(age, () => {
      age.textContent = `${span(life - way.watch.left)} ago`;
    }),
  );

  step(
    {
      title: words.title,
      mark: client ? undefined : ['calm', 'lock'],
      // Nothing that the device says of itself: people read this first, and believe it.
      lead: h('span', {}, words.asks, person(session.user()), '.'),
    },
    // An application is let in without a number: what warns of it comes first.
    client && warning,
    h(
      'div',
      { class: 'card' },
      client
        ? whoAsks(client)
        : h(
            'p',
            { class: 'direction' },
            icon(scannedByMe ? 'camera' : 'screen'),
            h('span', {}, scannedByMe ? 'You read the code that it shows.' : 'It read the code that you showed here.'),
          ),
      h(
        'div',
        { class: 'seen' },
        h('p', {}, 'The server sees'),
        h(
          'dl',
          { class: 'facts' },
          observed.place && fact('Place', h('dd', {}, `${placeName(observed.place)} (roughly)`)),
          fact('Network', h('dd', { class: `network ${tone}` }, network)),
          fact('Address', h('dd', { class: 'mono', translate: 'no' }, observed.ip || 'Not known')),
          fact('Asked', age),
        ),
      ),
      h(
        'div',
        { class: 'claims' },
        h('p', {}, 'It says of itself (not verified)'),
        h(
          'dl',
          { class: 'facts' },
          !client && fact('Name', h('dd', {}, claimed(reported.name))),
          agent && fact(client ? 'Program' : 'Browser', h('dd', { title: quoted(agent, 128) }, itsProgram(pairing, agent))),
          reported.os && fact('System', h('dd', {}, claimed(reported.os))),
          reported.appVersion && fact('Version', h('dd', {}, claimed(reported.appVersion))),
        ),
      ),
    ),
    !client && warning,
    notice(
      'caution',
      h('strong', {}, 'If you did not start this yourself, deny.'),
      client
        ? ' Allow only if the device that shows the code is in front of you.'
        : [' Allow only if the new device is in front of you and its address bar says ', addressIn(), '.'],
      pairing.verification === 'number' ? ' After that you get a number to type there.' : '',
    ),
    way.away,
    tooNew && notice('caution', explain({ code: 'device_quarantined' }).text),
    h('div', { class: `row verdicts ${client ? 'reachable' : ''}` }, deny, !tooNew && approve),
    h(
      'label',
      { class: 'check', for: 'report' },
      report,
      h('span', {}, 'When I deny, also report this as an attempt to trick me'),
    ),
    countdown(way.watch, (left) => `Without an answer nobody gets in. Time left: ${left}`),
  );
}

function drawWarnings({ grave, texts }) {
  const several = texts.length > 1;
  return h(
    'div',
    { class: `notice ${grave ? 'alarm' : 'caution'}`, id: 'warnings', role: grave ? 'alert' : 'note' },
    icon('warning'),
    h(
      'div',
      {},
      h('p', {}, h('strong', {}, 'Look twice.'), several ? '' : ` ${texts[0]}`),
      several && h('ul', {}, ...texts.map((text) => h('li', {}, text))),
    ),
  );
}

/** No device more fits into the account: one of the others has to make room before the person decides about this one. */
async function drawFull(way) {
  const { id } = way.pairing;
  const go = async () => {
    // If somebody else was faster, there is room all the same.
    await session.logOutDevice(list.querySelector('input:checked')?.getAttribute('value') ?? '');
    say('Logged out');
    way.pairing = { ...way.pairing, obstacle: undefined };
    draw(way);
  };
  const send = button('Log it out and go on', go, { kind: 'danger' });
  send.setAttribute('aria-disabled', 'true');
  const list = h(
    'fieldset',
    { class: 'choose', onchange: () => send.removeAttribute('aria-disabled') },
    h('legend', {}, 'Which one?'),
  );
  const deny = () => act(way, () => session.withKey((key) => denyPairing(id, key)));
  step(
    {
      title: 'Your account is full',
      mark: ['calm', 'warning'],
      lead: 'A device wants to log in, and there is no place for it. Choose one to log out, then see who asks.',
    },
    list,
    row(button('Deny', deny, { kind: 'secondary' }), send),
    countdown(way.watch, (left) => `Without an answer nobody gets in. Time left: ${left}`),
  );
  try {
    const { devices } = await session.withKey(listDevices);
    list.append(
      ...devices
        .filter((device) => !device.current)
        .map((device) =>
          h(
            'label',
            { class: 'check' },
            h('input', { type: 'radio', name: 'device', value: device.id }),
            h(
              'span',
              {},
              claimed(device.name),
              ', added ',
              moment(device.createdAt, { exact: true }),
              ', last seen ',
              moment(device.lastSeenAt),
              device.lastIp ? ` from ${device.lastIp}` : '',
            ),
          ),
        ),
    );
  } catch (error) {
    list.append(notice('problem', explain(error).text));
  }
}

/** A browser says much of itself; what else asks for access is read as it is. */
const itsProgram = ({ client }, /** @type {string} */ agent) =>
  client ? claimed(agent) : `${browserName(agent)} on ${osName(agent)}`;

const fact = (term, description) => h('div', {}, h('dt', {}, term), description);

/** Both verdicts may lose a race; then what really happened is shown, not an error. */
async function act(way, verdict) {
  try {
    way.watch.take(await verdict());
  } catch (error) {
    if (error.code === 'device_limit') {
      way.pairing = { ...way.pairing, obstacle: 'device_limit' };
      return draw(way);
    }
    const over = ['invalid_state', 'pairing_cancelled', 'pairing_expired'].includes(error.code);
    if (!over) throw error;
    await way.watch.read();
    if (!isFinal(way.pairing)) throw error;
  }
}

function drawApproved(way) {
  const { pairing, watch } = way;
  const words = consentWords(pairing);
  const link = connection(watch.transport);
  watch.onTransport = link.set;
  const stop = button(
    'Stop it after all',
    () => {
      way.denying = true;
      return act(way, () => session.withKey((key) => denyPairing(pairing.id, key)));
    },
    { kind: 'plain' },
  );
  const left = countdown(watch, (time) => `Time left: ${time}`);
  if (!pairing.number) {
    step(
      { title: 'Allowed', mark: ['good', 'check'], lead: words.waits },
      itsName(pairing),
      way.away,
      left,
      link.node,
      row(stop),
    );
    return;
  }
  step(
    {
      title: words.number,
      mark: ['good', 'lock'],
      lead: words.without,
    },
    h(
      'p',
      { class: 'number', translate: 'no', id: 'verification-number' },
      h('span', { 'aria-hidden': 'true' }, pairing.number),
      h('span', { class: 'unseen' }, pairing.number.split('').join(' ')),
    ),
    notice(
      'caution',
      pairing.client
        ? h('strong', {}, 'Type it only on the device that shows the code.')
        : h('strong', {}, 'Type it only where the address bar says ', addressIn(), '.'),
      ' Never read it out to anybody and never send it on.',
    ),
    way.away,
    left,
    link.node,
    row(stop),
  );
}

function drawFinished({ pairing, again }) {
  if (pairing.client) return drawConnected(pairing, again);
  const { deviceId } = pairing.newDevice;
  acknowledge(deviceId);
  const undo = async () => {
    await session.logOutDevice(deviceId, { descendants: true });
    drawEnd({ title: 'Logged out again', text: 'The device no longer has access.' }, again);
    say('Logged out again');
  };
  step(
    { title: 'Finished', mark: ['good', 'check'], lead: consentWords(pairing).finished },
    itsName(pairing),
    row(button('Done', again), button('Log it out again', undo, { kind: 'secondary' })),
  );
}

function drawConnected(pairing, again) {
  step(
    { title: 'Finished', mark: ['good', 'check'], lead: consentWords(pairing).finished },
    itsName(pairing),
    h('p', {}, 'You can go on there. What has access stands under “Your devices”, where you can take it away.'),
    row(button('Done', again), h('a', { class: 'button secondary', href: to('devices') }, h('span', {}, 'Your devices'))),
  );
}

function drawEnd({ title, text }, again) {
  step({ title, mark: ['calm', 'cross'], lead: text }, row(button('Back', again)));
}
