// The part of `/devices` about passkeys: which there are, one more, one less.

import { listPasskeys, removePasskey } from './pairing.js';
import { acknowledge } from './alerts.js';
import { deviceName } from './device.js';
import * as session from './session.js';
import { knowsPasskeys, makePasskey, withProof } from './step-up.js';
import { attempt, button, claimed, h, moment, notice, row, say } from './ui.js';
import { explain, isolated } from './words.js';

const list = h('ul', { class: 'devices', 'aria-label': 'Passkeys' });
/** @type {{id: string, name: string, current?: boolean}[]} */
let devices = [];
/** @type {{id: string, name: string, addedBy: string}[]} */
let passkeys = [];

export function passkeySection() {
  return h(
    'section',
    { class: 'passkeys', 'aria-labelledby': 'passkeys' },
    h('h2', { id: 'passkeys' }, 'Passkeys'),
    h(
      'p',
      { class: 'quiet' },
      'With a passkey you show that it is you, by finger, face or PIN. You may be asked for it before you let a device in.',
    ),
    list,
    knowsPasskeys() ? drawForm() : h('p', { class: 'quiet' }, 'This browser cannot use passkeys at this address.'),
  );
}

/** Those that these devices added. @param {{id: string}[]} some */
export const passkeysOf = (some) => passkeys.filter(({ addedBy }) => some.some(({ id }) => id === addedBy));

/** @param {{id: string, name: string, current?: boolean}[]} [known]  who may have added them */
export async function refreshPasskeys(known = devices) {
  devices = known;
  try {
    ({ passkeys } = await session.withKey(listPasskeys));
    list.replaceChildren(...passkeys.map(drawPasskey));
    list.hidden = !passkeys.length;
  } catch (error) {
    if (session.user()) list.replaceChildren(h('li', {}, notice('problem', explain(error).text)));
  }
}

function drawForm() {
  const input = h('input', { id: 'passkey-name', maxlength: '128', required: true, value: deviceName() });
  const submit = h('button', { type: 'submit', class: 'secondary' }, h('span', {}, 'Add a passkey'));
  const add = async () => {
    const name = input.value.trim();
    if (!name) {
      input.focus();
      throw Object.assign(new Error('no name'), { code: 'bad_name' });
    }
    await makePasskey(name);
    input.value = deviceName();
    say(`The passkey ${isolated(name)} was added`);
    await refreshPasskeys();
  };
  return h(
    'form',
    {
      novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        attempt(submit, add);
      },
    },
    h('label', { for: 'passkey-name' }, 'Name for a new passkey'),
    input,
    row(submit),
  );
}

function drawPasskey({ id, name, createdAt, lastUsedAt, addedBy }) {
  const item = h('li', { class: 'device', 'data-passkey': id });
  const by = devices.find((device) => device.id === addedBy);
  const rest = () =>
    item.replaceChildren(
      h(
        'div',
        { class: 'device-text' },
        h('h3', {}, claimed(name)),
        h(
          'p',
          { class: 'quiet' },
          'Added ',
          moment(createdAt),
          ' by ',
          by ? claimed(by.name) : 'a device that has left',
        ),
        lastUsedAt && h('p', { class: 'quiet' }, 'Last used ', moment(lastUsedAt)),
      ),
      row(
        button('Remove', () => confirm(removed), { kind: 'small secondary', describe: `Remove the passkey ${isolated(name)}` }),
        !by?.current &&
          button('This wasn’t me', () => confirm(undone, [' And log out ', by ? claimed(by.name) : adder, ', with all that it let in.']), {
            kind: 'small secondary',
            describe: `This wasn’t me: remove the passkey ${isolated(name)} and log out ${adder}, with all that it let in`,
          }),
      ),
    );
  const adder = by ? isolated(by.name) : 'the device that added it';
  const removed = () =>
    withProof((key) => {
      acknowledge(id);
      return removePasskey(id, key);
    }).catch((error) => {
      // Somebody was faster.
      if (error.http !== 404) throw error;
    });
  // Needs no proof: perhaps only the intruder could give one.
  const undone = () => {
    acknowledge(id);
    return session.logOutDevice(addedBy, { descendants: true });
  };
  /** @param {() => Promise<unknown>} remove  @param {any[]} [more]  what else it does */
  const confirm = (remove, more = []) => {
    const question = h('p', { tabindex: '-1' }, h('strong', {}, 'Remove the passkey ', claimed(name), '?'), more);
    const go = async () => {
      await remove();
      say(`The passkey ${isolated(name)} was removed`);
      await refreshPasskeys();
      document.getElementById('passkey-name')?.focus();
    };
    const back = () => {
      rest();
      item.querySelector('button')?.focus();
    };
    const remover = button('Remove', go, { kind: 'small danger' });
    const cancel = button('Cancel', back, { kind: 'small secondary' });
    item.replaceChildren(
      h(
        'div',
        {},
        question,
        // Never where the finger still is.
        row(...(more.length ? [remover, cancel] : [cancel, remover])),
      ),
    );
    question.focus();
  };
  rest();
  return item;
}
