// The part of `/devices` about apps with access: which there are, since when, and how one is taken away.

import { listApps, revokeApp } from './pairing.js';
import { takeAway } from './alerts.js';
import { picture } from './application.js';
import * as session from './session.js';
import { button, claimed, h, moment, momentText, notice, row, say } from './ui.js';
import { explain, isolated, scopeText } from './words.js';

const list = h('ul', { class: 'devices', 'aria-labelledby': 'apps' });
const section = h(
  'section',
  { class: 'apps', 'aria-labelledby': 'apps', hidden: true },
  h('h2', { id: 'apps', tabindex: '-1' }, 'Apps with access'),
  h('p', { class: 'quiet' }, 'You logged in to these with your account. Remove what you do not know or no longer use.'),
  list,
);
/** @type {any[]} */
let apps = [];

export const appSection = () => section;

/** Those that these devices let in. @param {{id: string}[]} some */
export const appsOf = (some) => apps.filter(({ letInBy }) => some.some(({ id }) => id === letInBy));

/** @param {{id: string, name: string, current?: boolean}[]} devices  who may have let them in */
export async function refreshApps(devices) {
  try {
    ({ apps } = await session.withKey(listApps));
    list.replaceChildren(...apps.map((app) => drawApp(app, devices)));
    section.hidden = !apps.length;
  } catch (error) {
    if (!session.user()) return;
    section.hidden = false;
    list.replaceChildren(h('li', {}, notice('problem', explain(error).text)));
  }
}

function drawApp({ id, name, scopes, createdAt, lastUsedAt, lastIp, letInBy, logoUri }, devices) {
  const item = h('li', { class: 'device', 'data-app': id });
  const by = devices.find((device) => device.id === letInBy);
  // By this alone a screen reader tells two logins at one app from one another.
  const which = `${isolated(name)}, added ${momentText(createdAt)}`;
  const rest = () =>
    item.replaceChildren(
      h(
        'div',
        { class: 'device-text' },
        h('h3', {}, picture(name, logoUri), ' ', claimed(name)),
        h('p', {}, 'It may: ', scopes.map(scopeText).join('; ')),
        h('p', { class: 'quiet' }, 'Last used ', moment(lastUsedAt), lastIp ? ` from ${lastIp}` : ''),
        h('p', { class: 'quiet' }, 'Added ', moment(createdAt), ' by ', by ? claimed(by.name) : 'a device that has left'),
      ),
      row(
        button('Remove', () => confirm(removed), { kind: 'small secondary', describe: `Remove the access of ${which}` }),
        !by?.current &&
          button('This wasn’t me', () => confirm(undone, [' And log out ', by ? claimed(by.name) : 'the device that let it in', ', with all that it let in.']), {
            kind: 'small secondary',
            describe: `This wasn’t me: remove the access of ${which}, and log out the device that let it in`,
          }),
      ),
    );
  const removed = () =>
    session.withKey((key) => revokeApp(id, key)).catch((error) => {
      // Somebody was faster.
      if (error.http !== 404) throw error;
    });
  const undone = () => session.logOutDevice(letInBy, { descendants: true });
  /** @param {() => Promise<unknown>} remove  @param {any[]} [more]  what else it does */
  const confirm = (remove, more = []) => {
    const question = h('p', { tabindex: '-1' }, h('strong', {}, 'Remove the access of ', claimed(name), '?'), more);
    const go = async () => {
      await remove();
      takeAway(id);
      say(`${isolated(name)} has no access any more`);
      await refreshApps(devices);
      document.getElementById('apps')?.focus();
    };
    const back = () => {
      rest();
      item.querySelector('button')?.focus();
    };
    const remover = button('Remove', go, { kind: 'small danger' });
    const cancel = button('Cancel', back, { kind: 'small secondary' });
    // Never where the finger still is.
    item.replaceChildren(h('div', {}, question, row(...(more.length ? [remover, cancel] : [cancel, remover]))));
    question.focus();
  };
  rest();
  return item;
}
