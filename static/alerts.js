// Tells a logged-in page what happens to the account while it is open: a device more, a device less.

import { revokeDevice, watchAccount } from './pairing.js';
import * as session from './session.js';
import { button, h, icon, row } from './ui.js';

const place = () => document.getElementById('alerts');
const known = new Set();

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
  known.add(deviceId);
  place()
    ?.querySelector(`[data-device="${CSS.escape(deviceId)}"]`)
    ?.remove();
}

function drawAdded(device) {
  if (known.has(device.id)) return;
  known.add(device.id);
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
