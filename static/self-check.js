// What this browser lacks of what the pages can use, what that means, and what works nevertheless.

import { canKeepKey } from './pairing.js';
import { kept } from './kept.js';
import { cameraAvailable } from './scanner.js';
import { knowsPasskeys } from './step-up.js';
import { address, h } from './ui.js';

/** @returns {Promise<{grave?: boolean, what: string, so: string}[]>} */
async function lacks() {
  const found = [];
  const note = (missing, what, so, grave = false) => missing && found.push({ what, so, grave });
  note(
    !navigator.cookieEnabled,
    'It keeps no cookies for this site.',
    `A login here ends as soon as this page is left. Allow cookies for ${address()}, then load the page again.`,
    true,
  );
  note(
    navigator.cookieEnabled && !kept.lasts(),
    'It keeps no settings for this site, or has no room left.',
    'You may be asked again who you are. Logging in works.',
  );
  note(
    !globalThis.isSecureContext,
    'The connection is not encrypted.',
    'Browsers give such a page no camera, no passkeys and no key of its own. Codes can be typed, and everything else works.',
  );
  if (!globalThis.isSecureContext) return found;
  note(
    !(await canKeepKey()),
    'It can keep no key of its own, or does not answer when asked for it.',
    'A login that somebody copies from it could be used elsewhere. Everything works; restarting the browser may help.',
  );
  note(
    !cameraAvailable(),
    'It gives pages no camera.',
    'Codes can be typed, pasted or read from a picture, and its own camera app can open them.',
  );
  note(!knowsPasskeys(), 'It knows no passkeys.', 'Where one is asked for, use another device. Everything else works.');
  note(
    !('BroadcastChannel' in globalThis),
    'Its tabs do not hear of one another.',
    'After logging in or out, load the other tabs again.',
  );
  return found;
}

/** Below the page, and only if something is missing. */
export async function drawSelfCheck() {
  const found = await lacks();
  document.querySelector('.lacks')?.remove();
  if (!found.length) return;
  document.querySelector('main')?.after(
    h(
      'details',
      { class: 'lacks', open: found.some(({ grave }) => grave) },
      h('summary', {}, 'What this browser lacks here'),
      h('ul', {}, ...found.map(({ what, so }) => h('li', {}, h('strong', {}, what), ' ', so))),
    ),
  );
}
