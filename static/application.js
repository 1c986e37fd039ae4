// Where an application asks for access and no device (RFC 8628): whether its device shows the code, and who it is.

import { button, h, row, step, userCode } from './ui.js';
import { scopeText } from './words.js';

/** @typedef {NonNullable<import('./pairing.js').Pairing['client']>} Client */

/** What each of them does here, asked for or not. */
const KEEPS = 'offline_access';
/** As long as Allow on a card: nobody compares eight letters in less. */
const INERT = 700;

/**
 * The code came with a link, which anybody may have sent: the person compares it. Nothing is claimed before.
 * @param {string} code
 * @param {{yes: () => Promise<void>, again: () => void}} ways  `again`: where the end leads if they say no
 */
export function askWhetherShown(code, { yes, again }) {
  const no = button('No', () => drawNotShown(again), { kind: 'verdict deny', icon: 'cross' });
  const shown = button('Yes', yes, { kind: 'verdict approve', icon: 'check' });
  for (const verdict of [no, shown]) verdict.setAttribute('aria-describedby', 'compared');
  shown.dataset.inert = String(INERT);
  step(
    {
      title: 'Does the device in front of you show this code?',
      mark: ['calm', 'screen'],
      lead: 'An application on it asks for access to your account.',
    },
    h('div', { id: 'compared' }, userCode(code)),
    h('div', { class: 'row verdicts' }, no, shown),
    h('p', { class: 'hint' }, 'Say no if somebody sent you this link, or if you see no device that shows a code.'),
  );
}

function drawNotShown(again) {
  step(
    {
      title: 'Nobody was let in',
      mark: ['calm', 'cross'],
      lead: 'Nothing has happened. The sender of this link wanted access to your account: do not open it again.',
    },
    row(button('Done', again)),
  );
}

/** The application as the operator has registered it. @param {Client} client */
export function whoAsks({ name, logoUri, scopes }) {
  return h(
    'div',
    { class: 'application' },
    picture(name, logoUri),
    h('strong', { class: 'application-name', translate: 'no' }, h('bdi', {}, name)),
    h('p', {}, 'It will'),
    h('ul', {}, ...[...scopes.filter((scope) => scope !== KEEPS), KEEPS].map((scope) => h('li', {}, scopeText(scope)))),
  );
}

/** The logo is decoration: the name stands beside it. Its first letter takes the place of one that does not come. */
export function picture(/** @type {string} */ name, /** @type {string | undefined} */ uri) {
  const letter = h('span', { class: 'logo', 'aria-hidden': 'true' }, [...name][0] ?? '?');
  if (!uri) return letter;
  const image = h('img', { class: 'logo', alt: '', src: uri, referrerpolicy: 'no-referrer' });
  image.addEventListener('error', () => image.replaceWith(letter));
  return image;
}
