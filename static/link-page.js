// The page `/link`, RFC 8628's `verification_uri`: type the code that an application's device shows, or compare the one
// in the link. Opening it changes nothing.

import { askWhetherShown } from './application.js';
import { askAboutCode, resume } from './consent.js';
import { watchAlerts } from './alerts.js';
import { keptHere } from './kept.js';
import { enter } from './log-in.js';
import { readCode } from './link.js';
import { root } from './pairing.js';
import * as session from './session.js';
import { address, attempt, h, row, step, to, userCode } from './ui.js';
import { explain } from './words.js';

/** The code of the link that was opened in this tab, until it is answered: over a login in between. */
const LINKED = `pairing-linked:${root.pathname}`;

const given = readCode(new URL(location.href).searchParams.get('user_code') ?? '');
if (given.kind === 'typed') keptHere.set(LINKED, given.userCode);
// A code that stays in the history could be opened again, and be another device's by then.
history.replaceState(null, '', location.pathname);

const again = () => {
  keptHere.remove(LINKED);
  drawTyping();
};

enter({
  async loggedIn() {
    watchAlerts();
    const code = keptHere.get(LINKED);
    if (code) ask(code);
    else if (!(await resume(again))) drawTyping();
  },
  loggedOut: drawLoggedOut,
});

function ask(/** @type {string} */ code) {
  const yes = () => {
    keptHere.remove(LINKED);
    return askAboutCode(code, again);
  };
  askWhetherShown(code, { yes, again });
}

session.events.addEventListener('signed-out', () => location.reload());
session.events.addEventListener('signed-in', () => location.reload());

function drawTyping() {
  const trouble = h('p', { class: 'field-problem', id: 'code-problem', role: 'alert' });
  const input = h('input', {
    id: 'typed',
    autocomplete: 'off',
    autocapitalize: 'characters',
    spellcheck: 'false',
    placeholder: 'XXXX-XXXX',
    'aria-describedby': 'code-problem',
    oninput: (/** @type {InputEvent} */ event) => {
      trouble.textContent = '';
      input.removeAttribute('aria-invalid');
      // The dash comes by itself, and goes when it is deleted.
      if (event.inputType === 'insertText' && /^[A-Za-z0-9]{4}$/.test(input.value)) input.value += '-';
    },
  });
  const complain = (/** @type {string} */ text) => {
    trouble.textContent = text;
    input.setAttribute('aria-invalid', 'true');
    input.focus();
  };
  const send = h('button', { type: 'submit', class: 'primary' }, h('span', {}, 'Continue'));
  const go = async () => {
    const code = readCode(input.value);
    if (code.kind === 'linked') return ask(code.userCode);
    if (code.kind !== 'typed') return complain('The code has eight letters and digits.');
    try {
      await askAboutCode(code.userCode, again);
    } catch (error) {
      if (error.code !== 'not_found') throw error;
      complain(explain(error).text);
    }
  };
  step(
    {
      title: 'Connect a device or a program',
      lead: 'Type the code that it shows. You see who asks before you decide.',
    },
    h(
      'form',
      {
        novalidate: true,
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          attempt(send, go);
        },
      },
      h('label', { for: 'typed' }, 'Code'),
      h('div', { class: 'joined' }, input, send),
      trouble,
    ),
    h('p', { class: 'hint' }, 'Type only a code that you see on a device in front of you, never one that somebody sent you.'),
  );
}

function drawLoggedOut() {
  const code = keptHere.get(LINKED);
  step(
    {
      title: 'This browser is not logged in',
      mark: ['calm', 'warning'],
      lead: 'Only a device that is logged in can give an application access.',
    },
    h(
      'p',
      {},
      'Open ',
      h('strong', { class: 'where', translate: 'no' }, address('link')),
      ' on a device that is logged in, and type the code there',
      code ? ':' : '.',
    ),
    code && userCode(code),
    h('p', { class: 'hint' }, 'Or log in this browser first: that leads back here.'),
    row(h('a', { class: 'button primary', href: to('#link') }, h('span', {}, 'Log in this browser'))),
  );
}
