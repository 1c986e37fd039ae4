// The page `/oauth/logout`: whether this browser is to be logged out as well, and the way back to the application.

import { enter } from './log-in.js';
import * as session from './session.js';
import { button, h, person, row, step, to } from './ui.js';

/** Whose wish it is and where it goes on, as the server has checked and written it into the page; any may be "". */
const { client = '', ended = '', to: next = '', host = '' } = document.body.dataset;
const theClient = () => (client ? h('bdi', { translate: 'no' }, client) : 'the application');

enter({ loggedIn: ask, loggedOut: goOn, confirmed: ask });

session.events.addEventListener('signed-out', () => location.reload());
session.events.addEventListener('signed-in', () => location.reload());

/** Any site can send a browser here, so that nothing happens without a press. */
function ask() {
  step(
    {
      title: ended ? 'Log out of this browser too?' : 'Log out of this browser?',
      mark: ['calm', 'lock'],
      lead: ended
        ? ['You are logged out of ', theClient(), '. This browser is still logged in as ', person(session.user()), '.']
        : ['You are logged in here as ', person(session.user()), '.'],
    },
    row(button('Log out', logOut), button('Stay logged in', stay, { kind: 'secondary' })),
    h(
      'p',
      { class: 'hint' },
      'If you log out, so do the applications that you logged in to from this browser, except those that may keep access. Your other devices stay logged in.',
    ),
  );
}

async function logOut() {
  await session.leave();
  goOn();
}

function stay() {
  if (next) return leave('You stay logged in');
  step(
    { title: 'You stay logged in', mark: ['good', 'check'], lead: ['You are ', person(session.user()), '.'] },
    row(h('a', { class: 'button secondary', href: to('devices') }, h('span', {}, 'See your devices'))),
  );
}

function goOn() {
  document.getElementById('who')?.replaceChildren();
  if (next) return leave('You are logged out');
  step(
    { title: 'You are logged out', mark: ['good', 'check'], lead: 'This browser is no longer logged in here.' },
    row(h('a', { class: 'button secondary', href: to('') }, h('span', {}, 'Log in'))),
  );
}

function leave(/** @type {string} */ title) {
  step(
    { title, mark: ['good', 'check'], lead: ['Going back to ', theClient(), '…'] },
    h(
      'p',
      { class: 'hint' },
      'Nothing happens? ',
      h('a', { href: next }, 'Go on to ', h('bdi', { translate: 'no' }, host)),
    ),
  );
  location.replace(next);
}
