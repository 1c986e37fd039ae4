// The panel that takes in another device's code in whichever way works here: camera, picture, paste, typing.

import { cameraAvailable, readPicture, startCamera } from './scanner.js';
import { readCode } from './link.js';
import { attempt, button, h, icon, notice, row, say } from './ui.js';
import { explain } from './words.js';

/** @typedef {import('./link.js').Code} Code */

/** What is said about a code that leads nowhere. */
const REFUSALS = {
  incomplete: () => 'This link is incomplete: its secret part is missing. Scan the code again.',
  unknown: (_, byHand) =>
    byHand
      ? 'That is not a login code. Type the eight letters and digits that stand beside the picture.'
      : 'That is not a login code. Point at the code that the other device shows.',
  foreign: (code) => `This code belongs to another site: ${code.host}. It was not opened.`,
};

/** What stays when a code rotates. */
const pictureOf = (/** @type {string} */ text) => text.split('#', 1)[0];

/**
 * @param {{onCode: (code: Code) => Promise<void> | void, typedLabel: string}} options
 *   `onCode` gets only codes of this site; what it throws is shown here and reading goes on.
 */
export function reader({ onCode, typedLabel }) {
  const trouble = h('div', { class: 'trouble' });
  const video = /** @type {HTMLVideoElement} */ (
    h('video', { muted: true, playsinline: true, 'aria-label': 'Camera picture' })
  );
  video.muted = true;
  const viewer = h('div', { class: 'viewer', hidden: true }, video, h('div', { class: 'aim' }));
  let stopCamera = null;
  let last = '';
  let settled = '';
  let busy = false;

  const stop = () => {
    stopCamera?.();
    stopCamera = null;
    viewer.hidden = true;
    start.hidden = false;
    end.hidden = true;
  };

  const take = async (/** @type {string} */ text, { byHand = false } = {}) => {
    const code = readCode(text);
    if (code.kind in REFUSALS) return complain(REFUSALS[code.kind](code, byHand));
    busy = true;
    try {
      await onCode(code);
      stop();
    } catch (error) {
      if (error.code !== 'not_found') settled = pictureOf(text);
      complain(explain(error).text);
    } finally {
      busy = false;
    }
  };

  const complain = (/** @type {string} */ text) => trouble.replaceChildren(notice('problem', text));

  const seen = (/** @type {string} */ text) => {
    // The same code stays in view for many frames, and a picture that rotates with ever new ones: of these another one
    // is worth a try only where the last was too old.
    if (busy || text === last || pictureOf(text) === settled) return;
    last = text;
    take(text);
  };

  const startReading = async () => {
    trouble.replaceChildren();
    last = settled = '';
    viewer.hidden = false;
    try {
      stopCamera = await startCamera(video, seen);
      start.hidden = true;
      end.hidden = false;
      say('The camera is on. Point it at the code.');
      end.focus();
    } catch (error) {
      stop();
      complain(
        error.name === 'NotAllowedError'
          ? 'The browser may not use the camera. Allow it in the address bar, or use another way below.'
          : 'No camera could be started. Use another way below.',
      );
    }
  };

  const fromPicture = async (/** @type {Blob | undefined} */ file) => {
    if (!file) return;
    trouble.replaceChildren();
    say('Looking for a code in the picture…');
    const text = await readPicture(file).catch(() => null);
    if (text) await take(text);
    else
      complain(
        'There is no readable code in this picture. Try a sharper one, with the whole code and its white border.',
      );
  };

  const paste = async () => {
    trouble.replaceChildren();
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((name) => name.startsWith('image/'));
        if (type) return await fromPicture(await item.getType(type));
        if (item.types.includes('text/plain')) return await take(await (await item.getType('text/plain')).text());
      }
      complain('There is neither a code nor a picture to paste.');
    } catch {
      complain('The browser does not let this page paste. Press Ctrl+V (or ⌘V) instead.');
    }
  };

  const start = button('Scan with the camera', startReading, { icon: 'camera', kind: 'primary large' });
  const end = button(
    'Stop the camera',
    () => {
      stop();
      start.focus();
    },
    { kind: 'secondary' },
  );
  end.hidden = true;

  const file = h('input', {
    type: 'file',
    id: 'picture',
    accept: 'image/*',
    class: 'unseen',
    onchange: async () => {
      await fromPicture(file.files[0]);
      file.value = '';
    },
  });
  const upload = h(
    'label',
    { class: 'button secondary', for: 'picture' },
    icon('picture'),
    h('span', {}, 'Picture', h('span', { class: 'unseen' }, ' of a code')),
  );

  const typed = h('input', {
    id: 'typed',
    autocomplete: 'off',
    autocapitalize: 'characters',
    spellcheck: 'false',
    placeholder: 'XXXX-XXXX',
    required: true,
  });
  const send = h('button', { type: 'submit', class: 'secondary' }, h('span', {}, 'Continue'));
  const form = h(
    'form',
    {
      class: 'inline',
      novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        trouble.replaceChildren();
        attempt(send, () => take(typed.value, { byHand: true }));
      },
    },
    h('label', { for: 'typed' }, typedLabel),
    h('div', { class: 'joined' }, typed, send),
  );

  const panel = h(
    'div',
    { class: 'reader' },
    cameraAvailable()
      ? [viewer, row(start, end)]
      : notice(
          'info',
          h('strong', {}, 'Use this device’s own camera app.'),
          ' Point it at the code and open the link. This page has no camera here, because the connection is not encrypted.',
        ),
    trouble,
    h('p', { class: 'divider' }, h('span', {}, 'or')),
    h(
      'div',
      { class: 'row ways' },
      file,
      upload,
      navigator.clipboard?.read && button('Paste', paste, { icon: 'paste', kind: 'secondary' }),
    ),
    form,
  );

  const pasted = (/** @type {ClipboardEvent} */ event) => {
    if (!panel.isConnected) return document.removeEventListener('paste', pasted);
    const picture = [...(event.clipboardData?.files ?? [])].find((item) => item.type.startsWith('image/'));
    if (picture) fromPicture(picture);
    else if (event.target !== typed) typed.value = event.clipboardData?.getData('text/plain') ?? '';
  };
  document.addEventListener('paste', pasted);
  return panel;
}
