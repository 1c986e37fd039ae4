// Tells a logged-in page what happens to the account while it is open: a device more, a device less.

import { revokeDevice, watchAccount } from './pairing.js';
import * as session from './session.js';
import { button, h, icon, row } from './ui.js';

const place = () => document.getElementById('alerts');
/** Logins that were told here; the same device may come again, and that is news. @type {Set<string>} */
const known = new Set();
/** When a device was last told here. @type {Map<string, number>} */
const toldAt = new Map();
/** Devices that this page has just let in, until the news of it arrives. @type {Map<string, number>} */
const expected = new Map();
/** The news of a login come within this, or belong to another one. */
const LATE = 60_000;
const recent = (/** @type {number | undefined} */ at) => at !== undefined && Date.now() - at < LATE;

/** @param {() => void} [onChange]  the list of devices is no longer what it was */
export function watchAlerts(onChange = () => {}) {
  const watch = watchAccount(session.credential, {
    onEvent: ({ type, device }) => {
      if (type === 'device.added') drawAdded(device);
      if (type === 'device.added' || type === 'device.revoked') onChange();
    },
  });
  session.events.addEventListener('signed-out', () => watch.stop(), { once: true });
}

/** This page let that device in itself: no alarm about it. */
export function acknowledge(/** @type {string} */ deviceId) {
  if (!recent(toldAt.get(deviceId))) expected.set(deviceId, Date.now());
  place()
    ?.querySelector(`[data-device="${CSS.escape(deviceId)}"]`)
    ?.remove();
}

function drawAdded(device) {
  const login = `${device.id} ${device.createdAt}`;
  if (known.has(login)) return;
  known.add(login);
  const letInHere = recent(expected.get(device.id));
  expected.delete(device.id);
  if (letInHere) return;
  toldAt.set(device.id, Date.now());
  const close = () => alert.remove();
  const undo = async () => {
    await session.withKey((key) => revokeDevice(device.id, key, { descendants: true }));
    close();
  };
  const alert = h(
    'div',
    { class: 'notice alarm', role: 'alert', 'data-device': device.id },
    icon('warning'),
    h(
      'div',
      {},
      h('p', {}, h('strong', {}, 'A new device has just logged in: '), device.name || 'without a name'),
      row(
        button('It was me', close, { kind: 'small secondary' }),
        button('Log it out', undo, { kind: 'small secondary' }),
      ),
    ),
  );
  place()?.append(alert);
}
