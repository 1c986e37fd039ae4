// The page `/devices`: which devices are logged in, their names, logging them out, and what happened lately.

import { listActivity, listDevices, renameDevice, revokeOthers } from './pairing.js';
import { enter } from './log-in.js';
import { watchAlerts } from './alerts.js';
import { appSection, appsOf, refreshApps } from './apps.js';
import { notificationSection, startNotifications } from './notifications.js';
import { passkeySection, passkeysOf, refreshPasskeys } from './passkeys.js';
import * as session from './session.js';
import { attempt, button, claimed, h, icon, moment, momentText, notice, row, say, step, to } from './ui.js';
import { explain, isolated } from './words.js';

const list = h('ul', { class: 'devices' });
const histories = [drawHistory('logins', 'Logins'), drawHistory('other', 'What else happened')];
const all = h('div', { class: 'all' });

enter({
  loggedIn: begin,
  confirmed: begin,
  loggedOut() {
    step(
      { title: 'You are not logged in', mark: ['calm', 'lock'], lead: 'Log in to see your devices.' },
      row(h('a', { class: 'button primary', href: to('') }, h('span', {}, 'Log in'))),
    );
  },
});
session.events.addEventListener('signed-out', () => location.reload());
session.events.addEventListener('signed-in', () => location.reload());

function begin() {
  draw();
  // First, so that nothing happens between the list and what later looks compare with.
  watchAlerts(refresh);
  refresh();
  // Without it, all else works.
  startNotifications().catch((error) => console.warn('Notifications:', error.code ?? error));
}

function draw() {
  step(
    { title: 'Your devices', lead: 'Each of them can use your account. Log out what you do not know.', wide: true },
    list,
    all,
    appSection(),
    passkeySection(),
    notificationSection(),
    ...histories.map(({ node }) => node),
  );
}

async function refresh() {
  try {
    const [{ devices }] = await Promise.all([session.withKey(listDevices), ...histories.map((each) => each.refresh())]);
    devices.sort(
      (a, b) => Number(b.current) - Number(a.current) || Date.parse(b.lastSeenAt) - Date.parse(a.lastSeenAt),
    );
    // A half-typed name is not taken away from under the fingers.
    if (!list.querySelector('form')) list.replaceChildren(...devices.map((device) => drawDevice(device, devices)));
    all.replaceChildren(...(devices.length > 1 ? [drawOthers(devices.length - 1)] : []));
    refreshApps(devices);
    refreshPasskeys(devices);
  } catch (error) {
    if (session.user()) list.replaceChildren(h('li', {}, notice('problem', explain(error).text)));
  }
}

function drawDevice(device, devices) {
  const item = h('li', { class: 'device', 'data-device': device.id });
  const parent = devices.find((other) => other.id === device.pairedBy);
  const exact = hasNamesake(device, devices);
  const called = calledIn(devices);
  const facts = () => [
    h(
      'p',
      { class: 'quiet' },
      'Last seen ',
      moment(device.lastSeenAt, { exact }),
      device.lastIp ? ` from ${device.lastIp}` : '',
    ),
    h(
      'p',
      { class: 'quiet' },
      'Added ',
      moment(device.createdAt, { exact }),
      parent && [' by ', ...called(parent)],
    ),
  ];
  // By this alone a screen reader tells two rows from one another.
  const which = `${isolated(device.name)}, added ${momentText(device.createdAt, { exact })}${device.lastIp ? `, last seen from ${device.lastIp}` : ''}`;
  const rest = () => {
    item.replaceChildren(
      h(
        'div',
        { class: 'device-text' },
        h('h2', {}, claimed(device.name), device.current && h('span', { class: 'badge' }, 'This device')),
        device.reportedName && h('p', {}, 'It calls itself ', claimed(device.reportedName)),
        h(
          'p',
          {},
          device.os && claimed(device.os),
          device.os && device.appVersion && ', ',
          device.appVersion && ['version ', claimed(device.appVersion)],
        ),
        facts(),
        device.quarantineUntil &&
          h(
            'p',
            { class: 'quiet' },
            icon('clock'),
            ' New: cannot let others in until ',
            moment(device.quarantineUntil),
          ),
      ),
      row(
        button('Rename', rename, { kind: 'small secondary', describe: `Rename ${which}` }),
        button('Log out', () => confirm(), { kind: 'small secondary', describe: `Log out ${which}` }),
        !device.current &&
          button('This wasn’t me', () => confirm({ notMe: true }), {
            kind: 'small secondary',
            describe: `This wasn’t me: log out ${which}, and all devices that it let in`,
          }),
      ),
    );
  };

  const rename = () => {
    const input = h('input', { id: `name-${device.id}`, value: device.name, maxlength: '128', required: true });
    const save = h('button', { type: 'submit', class: 'small primary' }, h('span', {}, 'Save'));
    const store = async () => {
      const name = input.value.trim();
      try {
        await session.withKey((key) => renameDevice(device.id, name, key));
      } catch (error) {
        input.focus();
        // The only thing that can be wrong with this call is what the person typed.
        const code = { bad_request: 'bad_name', not_found: 'device_gone' }[error.code] ?? error.code;
        throw Object.assign(error, { code });
      }
      item.replaceChildren();
      say(`Renamed to ${isolated(name)}`);
      await refresh();
      /** @type {HTMLElement | null} */ (
        list.querySelector(`[data-device="${CSS.escape(device.id)}"] button`)
      )?.focus();
    };
    item.replaceChildren(
      h(
        'form',
        {
          novalidate: true,
          onsubmit: (event) => {
            event.preventDefault();
            attempt(save, store);
          },
        },
        h('label', { for: `name-${device.id}` }, 'New name'),
        input,
        row(
          save,
          button(
            'Cancel',
            () => {
              rest();
              item.querySelector('button')?.focus();
            },
            { kind: 'small plain' },
          ),
        ),
      ),
    );
    input.focus();
    input.select();
  };

  const confirm = ({ notMe = false } = {}) => {
    const children = devices.filter(({ id }) => device.descendants?.includes(id));
    const gone = notMe ? [device, ...children] : [device];
    const [passkeys, apps] = [passkeysOf(gone), appsOf(gone)];
    const descendants = h('input', { type: 'checkbox', id: `with-${device.id}`, checked: notMe });
    const go = async () => {
      if (device.current && !descendants.checked) {
        await session.leave();
        return location.reload();
      }
      await session.logOutDevice(device.id, { descendants: descendants.checked });
      say(`Logged out: ${isolated(device.name)}`);
      await refresh();
    };
    const question = h(
      'p',
      { tabindex: '-1' },
      h('strong', {}, device.current ? 'Log out this very device?' : ['Log out ', claimed(device.name), '?']),
      notMe && children.length > 0 && [' And all that it let in: ', ...listed(children.map(called), '; '), '.'],
      // A mere log-out leaves them where approvals need one, which this page can't know.
      !device.current &&
        passkeys.length > 0 && [
          ` Passkeys that ${notMe ? 'go' : 'may go'} along: `,
          ...listed(passkeys.map(({ name }) => [claimed(name)])),
          '.',
        ],
      !device.current &&
        apps.length > 0 && [' Apps that lose access: ', ...listed(apps.map(({ name }) => [claimed(name)])), '.'],
    );
    item.replaceChildren(
      h(
        'div',
        {},
        question,
        facts(),
        !notMe &&
          children.length > 0 &&
          h(
            'label',
            { class: 'check', for: `with-${device.id}` },
            descendants,
            h('span', {}, 'and all devices that it let in'),
          ),
        row(
          button('Log out', go, { kind: 'small danger', describe: `Log out ${which}` }),
          button(
            'Cancel',
            () => {
              rest();
              item.querySelector('button')?.focus();
            },
            { kind: 'small secondary' },
          ),
        ),
      ),
    );
    question.focus();
  };

  rest();
  return item;
}

const listed = (/** @type {any[][]} */ all, comma = ', ') => all.flatMap((each, n) => (n ? [comma, ...each] : each));

const hasNamesake = (device, devices) => devices.some(({ id, name }) => id !== device.id && name === device.name);

/** What a device is called beside these: by its name, and where that says too little, by the moment it was added. */
const calledIn = (devices) => (device) => [
  claimed(device.name),
  hasNamesake(device, devices) ? ` (added ${momentText(device.createdAt, { exact: true })})` : '',
];

function drawOthers(count) {
  const place = row();
  const ask = () =>
    place.replaceChildren(
      h('strong', {}, `Log out ${count === 1 ? 'the other device' : `all ${count} others`}?`),
      button('Cancel', rest, { kind: 'small secondary' }),
      // Last, where the finger is not any more.
      button(
        'Log out',
        async () => {
          await session.withKey(revokeOthers);
          say('All other devices are logged out');
          await refresh();
        },
        { kind: 'small danger' },
      ),
    );
  const rest = () => place.replaceChildren(button('Log out all other devices', ask, { kind: 'secondary' }));
  rest();
  return place;
}

const EVENTS = {
  'device.added': 'A device logged in',
  'device.renamed': 'A device was renamed',
  'device.revoked': 'A device was logged out',
  'device.revoked_others': 'All other devices were logged out',
  'session.logged_out': 'A device logged itself out',
  'session.replaced': 'An older login ended, for a device with the same code logged in',
  'session.key_reused': 'A copied key was stopped',
  'app.added': 'An application got access',
  'app.revoked': 'An application lost its access',
  'app.reused': 'A copied access of an application was stopped',
  'passkey.added': 'A passkey was added',
  'passkey.removed': 'A passkey was removed',
  'passkey.copied': 'A copied passkey was stopped',
  'pairing.denied': 'A login was denied',
  'pairing.number_missed': 'A login ended after three wrong numbers',
  'pairing.reported': 'A login was reported',
};

/**
 * The logins apart from the rest: whatever else happens does not push them out of sight.
 * @param {'logins' | 'other'} only  @param {string} title
 */
function drawHistory(only, title) {
  const lines = h('ol', { class: only === 'logins' ? 'logins' : 'activity', 'aria-label': title });
  const more = row();
  const node = h('section', { class: 'history' }, h('h2', {}, title), lines, more);
  const read = async (before = undefined) => {
    const { activity = [], next } = await session.withKey((key) => listActivity(key, before ? { only, before } : { only }));
    if (before) lines.append(...activity.map(drawEvent));
    else lines.replaceChildren(...activity.map(drawEvent));
    more.replaceChildren(...(next ? [button('Show older', () => read(next), { kind: 'small secondary' })] : []));
    node.hidden = !lines.childElementCount;
    if (before) more.querySelector('button')?.focus();
  };
  return { node, refresh: () => read() };
}

function drawEvent({ at, event, deviceName, byName, ip, count = 1 }) {
  const what = EVENTS[event] ?? event.replaceAll(/[._]/g, ' ');
  return h(
    'li',
    {},
    h(
      'span',
      {},
      h('strong', {}, what),
      deviceName ? [': ', claimed(deviceName)] : '',
      byName ? [', by ', claimed(byName)] : '',
      count > 1 && ` (${count} times)`,
    ),
    h('span', { class: 'quiet' }, moment(at), ip ? ` from ${ip}` : ''),
  );
}
