// Logging in with another provider, where the server has one: it then writes its name into the page.

import { deviceHeaders } from './device.js';
import { askIfThatIsYou, drawProblem } from './log-in.js';
import { logInByProvider, retryTransient } from './pairing.js';
import * as session from './session.js';
import { h, step, to } from './ui.js';

/** What people know it by; undefined if there is none. */
export const provider = document.body.dataset.provider;

/** The way to it, as a block of its own; false where there is none. */
export const providerChoice = (heading = 'No device that is logged in?') =>
  provider !== undefined &&
  h(
    'div',
    { class: 'others' },
    h('h2', {}, heading),
    h(
      'p',
      { class: 'row' },
      h(
        'a',
        { class: 'button secondary', href: to('login/upstream') },
        h('span', {}, 'Log in with ', h('bdi', { translate: 'no' }, provider)),
      ),
    ),
  );

/** The person has just come back from it: fetches the keys, and asks whether that is them. */
export async function arriveFromProvider(/** @type {() => void} */ again) {
  step({ title: 'One moment…', mark: ['waiting', 'hourglass'], lead: 'Logging you in…' });
  // Stays when the login fails: its answer may be lost and its cookie not.
  session.markVisited();
  try {
    askIfThatIsYou(await retryTransient(() => logInByProvider(deviceHeaders())), again);
  } catch (error) {
    drawProblem(error.code === 'not_found' ? { code: 'upstream_login_over' } : error, again);
  }
}
