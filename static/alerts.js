// Tells a logged-in page what happens to the account while it is open: a device, passkey or app more, or less.

import { listActivity, listApps, listDevices, listPasskeys, root, watchAccount } from './pairing.js';
import * as session from './session.js';
import { button, claimed, h, icon, row, say } from './ui.js';
import { isolated } from './words.js';

const place = () => document.getElementById('alerts');
/** Logins that were shown here; the same device may log in again, which is another event. @type {Set<string>} */
const known = new Set();
/** Apps that were told here, each by its client and by who let it in: it may log in as often as it likes. @type {Set<string>} */
const knownApps = new Set();
/** When a device was last told here. @type {Map<string, number>} */
const toldAt = new Map();
/** Devices that this page has just let in, and passkeys it removed, until its event arrives. @type {Map<string, number>} */
const expected = new Map();
/** The event of a login comes within this, or belongs to another one. */
const LATE = 60_000;
/** The same event by another tab comes within this. */
const SAME = 2000;
const recent = (/** @type {number | undefined} */ at) => at !== undefined && performance.now() - at < LATE;

/** @param {() => void} [onChange]  the list of devices is no longer what it was */
export function watchAlerts(onChange = () => {}) {
  const user = session.user()?.id;
  /** What was shown last, and when: each event comes by the socket of each tab. @type {Map<string, number>} */
  const heard = new Map();
  const which = ({ type, device, passkey, app }) => JSON.stringify([type, device?.id, device?.createdAt, passkey?.id, app?.id]);
  const tell = (/** @type {any} */ event) => {
    const { type, device, passkey, app } = event;
    const again = performance.now() - (heard.get(which(event)) ?? -Infinity) < SAME;
    heard.set(which(event), performance.now());
    if (again) return;
    if (type === 'device.added') drawAdded(device);
    if (type === 'passkey.added' && passkey.addedBy !== session.device()?.id) drawPasskey(passkey);
    if (type === 'passkey.removed') drawRemoved(passkey);
    if (type === 'app.added' && app.letInBy !== session.device()?.id) drawApp(app);
    if (/^(device|passkey|app)\./.test(type)) onChange();
  };
  // A device has five sockets at most, and there may be more tabs.
  const tabs = 'BroadcastChannel' in globalThis ? new BroadcastChannel(`pairing-news:${root.pathname}`) : null;
  tabs?.addEventListener('message', ({ data }) => data.user === session.user()?.id && tell(data.event));
  const watch = watchAccount(session.credential, {
    onEvent: (event) => {
      tabs?.postMessage({ user, event });
      tell(event);
    },
    // What a socket has told, a look finds again.
    onPoll: compare((event) => heard.has(which(event)) || tell(event)),
  });
  // A page that stays open for weeks needs no other key, but the cookie has its own end.
  const daily = setInterval(() => session.renewNow().catch(console.warn), 86_400_000);
  session.events.addEventListener('signed-out', () => (clearInterval(daily), watch.stop(), tabs?.close()), { once: true });
}

/** What no socket has told: what has changed since it was last looked at, as the same events. */
function compare(/** @type {(event: any) => void} */ tell) {
  let before = null;
  return async () => {
    try {
      const [{ devices }, { passkeys }, { apps }] = await Promise.all(
        [listDevices, listPasskeys, listApps].map(session.withKey),
      );
      const now = { device: logins(devices), passkey: byId(passkeys), app: byId(apps) };
      const was = before ?? now;
      before = now;
      for (const what of ['device', 'passkey', 'app']) {
        const [old, fresh] = [was[what], now[what]];
        for (const [key, each] of fresh)
          if (!old.has(key) && !each.current) tell({ type: `${what}.added`, [what]: each });
        for (const [key, each] of old)
          if (!fresh.has(key)) tell({ type: what === 'passkey' ? 'passkey.removed' : `${what}.revoked`, [what]: each });
      }
    } catch (error) {
      // The next look may do better.
      console.warn(error);
    }
  };
}
const byId = (all) => new Map(all.map((each) => [each.id, each]));
const logins = (devices) => new Map(devices.map((each) => [`${each.id} ${each.createdAt}`, each]));

/** This page let that device in itself, or removed that passkey: no alarm about it. */
export function acknowledge(/** @type {string} */ id) {
  if (!recent(toldAt.get(id))) expected.set(id, performance.now());
  takeAway(id);
}

/** What it told of is settled. */
export const takeAway = (/** @type {string} */ id) => place()?.querySelector(`[data-about="${CSS.escape(id)}"]`)?.remove();

function drawAdded(device) {
  const login = `${device.id} ${device.createdAt}`;
  if (known.has(login)) return;
  known.add(login);
  const letInHere = recent(expected.get(device.id));
  expected.delete(device.id);
  if (letInHere) return;
  toldAt.set(device.id, performance.now());
  const close = () => alert.remove();
  // Not the name that a person gave: an attacker who has copied a device's code would appear under it.
  const name = device.reportedName ?? device.name;
  const undo = async () => {
    await session.logOutDevice(device.id, { descendants: true });
    const done = h('p', { tabindex: '-1' }, 'The device is logged out again, with all that it let in.');
    alert.lastElementChild?.replaceChildren(done, row(button('Close', close, { kind: 'small secondary' })));
    done.focus();
  };
  const alert = alarm(
    device.id,
    ['A new device has just logged in. ', h('span', {}, 'It calls itself ', claimed(name))],
    button('It was me', close, { kind: 'small secondary' }),
    button('This wasn’t me', undo, {
      kind: 'small danger',
      describe: `This wasn’t me: log out the device that calls itself ${isolated(name)}, and all that it let in`,
    }),
  );
}

function drawPasskey({ id, name, addedBy }) {
  const close = () => alert.remove();
  // Without a proof: perhaps only the intruder could give one.
  const undo = async () => {
    // The event may be here before the answer.
    expected.set(id, performance.now());
    await session.logOutDevice(addedBy, { descendants: true });
    takeAway(id);
    say(`The passkey ${isolated(name)} is removed again, and who added it is logged out.`);
  };
  const alert = alarm(
    id,
    ['Another device has just added a passkey: ', claimed(name)],
    button('It was me', close, { kind: 'small secondary' }),
    button('This wasn’t me', undo, {
      kind: 'small danger',
      describe: `This wasn’t me: remove the passkey ${isolated(name)} and log out who added it, with all that it let in`,
    }),
  );
}

function drawApp({ id, clientId, name, letInBy }) {
  const which = `${clientId} ${letInBy}`;
  if (knownApps.has(which)) return;
  knownApps.add(which);
  const undo = async () => {
    await session.logOutDevice(letInBy, { descendants: true });
    knownApps.delete(which);
    takeAway(id);
    say(`${isolated(name)} has no access any more, and who let it in is logged out.`);
  };
  const alert = alarm(
    id,
    ['Another device has just given an application access: ', claimed(name)],
    button('It was me', () => alert.remove(), { kind: 'small secondary' }),
    button('This wasn’t me', undo, {
      kind: 'small danger',
      describe: `This wasn’t me: remove the access of ${isolated(name)} and log out who let it in, with all that it let in`,
    }),
  );
}

async function drawRemoved({ id, name }) {
  takeAway(id);
  const removedHere = recent(expected.get(id));
  expected.delete(id);
  if (removedHere) return;
  const by = await session.withKey(listActivity).then(
    ({ activity }) => activity.find((line) => line.event === 'passkey.removed' && line.deviceName === name)?.byName,
    // The event matters more than the device that caused it.
    () => undefined,
  );
  const alert = alarm(
    id,
    ['A passkey was removed from your account: ', h('span', {}, claimed(name), by && [', by ', claimed(by)])],
    button('I know', () => alert.remove(), { kind: 'small secondary' }),
  );
}

function alarm(about, [what, name], ...buttons) {
  const node = h(
    'div',
    { class: 'notice alarm', role: 'alert', 'data-about': about },
    icon('warning'),
    h('div', {}, h('p', {}, h('strong', {}, what), name), row(...buttons)),
  );
  place()?.append(node);
  return node;
}
