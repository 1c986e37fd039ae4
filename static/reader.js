// The panel that takes in another device's code in whichever way works here: camera, picture, paste, typing.

import { cameraAvailable, readPicture, startCamera } from './scanner.js';
import { likeliest, readCode } from './link.js';
import { root } from './pairing.js';
import { attempt, button, h, icon, notice, row, say, visible } from './ui.js';
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

/** Why there is no picture of the camera, or none any more, by the error's name. */
const CAMERA_TROUBLES = {
  NotAllowedError: (error) =>
    /system/i.test(error.message)
      ? 'This device’s own settings keep the camera from the browser. Allow it there, or use another way below.'
      : 'The browser may not use the camera. Allow it in the address bar, or use another way below.',
  SecurityError: () => 'The browser forbids cameras on this page. Use another way below.',
  NotFoundError: () => 'No camera was found. Connect one and try again, or use another way below.',
  NotReadableError: () =>
    'The camera does not answer: another program may be using it. Close that and try again, or use another way below.',
  NoPicture: () =>
    'The browser did not show the camera’s picture, so the camera was turned off. Try again, or use another way below.',
  Ended: () =>
    'The camera has stopped: it was disconnected, or another program or a call has taken it. Try again, or use another way below.',
  NoDecoder: () =>
    'A part of this page is missing: it cannot read pictures. Load the page again, or type the code below.',
};
CAMERA_TROUBLES.AbortError = CAMERA_TROUBLES.NotReadableError;

const cameraTrouble = (/** @type {Error} */ error) =>
  CAMERA_TROUBLES[error.name]?.(error) ?? 'No camera could be started. Use another way below.';

/** Why a file gives no code, by the error's name. */
const PICTURE_TROUBLES = {
  NoDecoder: CAMERA_TROUBLES.NoDecoder(),
  Empty: 'This file is empty. Save the picture once more, or take a screenshot.',
  CutOff: 'This picture is cut off: the end of the file is missing. Save or send it once more, or take a screenshot.',
  Damaged: 'This picture is damaged: the browser cannot open it. Save it once more, or take a screenshot.',
  HEIC: 'This is a HEIC picture, which this browser cannot open. Save it as JPEG, or take a screenshot.',
  TIFF: 'This is a TIFF picture, which this browser cannot open. Save it as PNG or JPEG, or take a screenshot.',
  PDF: 'This is a PDF document and no picture. Open it and take a screenshot of the code.',
  NoPicture: 'This file is no picture that the browser can open. Save it as PNG or JPEG, or take a screenshot.',
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
  const searching = h('p', { class: 'searching' });
  const viewer = h('div', { class: 'viewer', hidden: true }, video, h('div', { class: 'aim' }), searching);
  const choice = h('div', { class: 'camera-choice' });
  const torchPlace = h('span', {});
  /** Stops the camera that runs or is about to. @type {AbortController | null} */
  let running = null;
  let again = false;
  let chosen = '';
  const tried = new Set();
  const settled = new Set();
  let busy = false;

  const stop = () => {
    running?.abort();
    running = null;
    viewer.hidden = true;
    start.hidden = false;
    end.hidden = true;
    choice.replaceChildren();
    torchPlace.replaceChildren();
    say('');
  };

  const take = async (/** @type {string[]} */ texts, { byHand = false } = {}) => {
    const { text, code } = likeliest(texts);
    if (code.kind in REFUSALS) return complain(REFUSALS[code.kind](code, byHand));
    // Where hands and eyes are on another device.
    if (running) navigator.vibrate?.(80);
    busy = true;
    try {
      await onCode(code);
      stop();
    } catch (error) {
      if (error.code !== 'not_found') settled.add(pictureOf(text));
      complain(explain(error).text);
    } finally {
      busy = false;
    }
  };

  const complain = (/** @type {string} */ text) => {
    trouble.replaceChildren(notice('problem', text));
    // The camera's picture may fill a phone's whole screen.
    trouble.scrollIntoView({ block: 'nearest' });
  };

  const seen = (/** @type {string[]} */ texts) => {
    // The same code stays in view for many frames, and a picture that rotates with ever new ones: of these another one
    // is worth a try only where the last was too old.
    const fresh = texts.filter((text) => !tried.has(text) && !settled.has(pictureOf(text)));
    if (busy || !fresh.length) return;
    for (const text of fresh) tried.add(text);
    take(fresh);
  };

  const searchingText = (/** @type {boolean} */ frozen) => {
    searching.textContent = frozen
      ? 'The camera gives no picture right now. Another program or a call may be using it.'
      : 'Searching for a code…';
    searching.classList.toggle('frozen', frozen);
    if (frozen) say(searching.textContent);
  };

  const startReading = async () => {
    trouble.replaceChildren();
    stop();
    tried.clear();
    settled.clear();
    viewer.hidden = false;
    searchingText(false);
    const mine = (running = new AbortController());
    const failed = (/** @type {Error} */ error) => {
      if (mine !== running) return;
      // The announcements are the next step's by now.
      if (!panel.isConnected) return mine.abort();
      stop();
      complain(cameraTrouble(error));
    };
    try {
      const opened = await startCamera(video, {
        sought: root.href,
        signal: mine.signal,
        camera: chosen,
        onTexts: seen,
        onFrozen: searchingText,
        onEnd: failed,
      });
      if (mine !== running) return;
      start.hidden = true;
      end.hidden = false;
      offerCameras(opened);
      offerLight(opened.light);
      say('The camera is on. Point it at the code.');
      end.focus();
    } catch (error) {
      failed(error);
    }
  };

  const offerCameras = ({ cameras, camera }) => {
    if (cameras.length < 2) return;
    const select = h(
      'select',
      {
        id: 'camera',
        onchange: () => {
          chosen = select.value;
          startReading();
        },
      },
      cameras.map(({ id, label }) => h('option', { value: id, selected: id === camera }, label)),
    );
    choice.replaceChildren(h('label', { for: 'camera' }, 'Camera'), select);
  };

  const offerLight = (/** @type {((on: boolean) => Promise<void>) | null} */ light) => {
    if (!light) return;
    let on = false;
    const torch = button(
      'Light',
      async () => {
        try {
          await light(!on);
          on = !on;
        } catch {
          complain('The light does not work with this camera.');
        }
        torch.setAttribute('aria-pressed', String(on));
      },
      { kind: 'secondary' },
    );
    torch.setAttribute('aria-pressed', 'false');
    torchPlace.replaceChildren(torch);
  };

  // No light and no work for a page that nobody sees; a person who comes back goes on.
  const looked = () => {
    if (!panel.isConnected) {
      running?.abort();
      document.removeEventListener('visibilitychange', looked);
    } else if (!visible()) {
      again = Boolean(running);
      stop();
    } else if (again) {
      again = false;
      startReading();
    }
  };
  document.addEventListener('visibilitychange', looked);

  const fromPicture = async (/** @type {Blob | undefined} */ file) => {
    if (!file) return;
    trouble.replaceChildren(notice('info', 'Looking for a code in the picture…'));
    try {
      const texts = await readPicture(file, root.href);
      trouble.replaceChildren();
      if (texts.length) await take(texts);
      else
        complain(
          'There is no readable code in this picture. Try a sharper one, with the whole code and its white border.',
        );
    } catch (error) {
      complain(PICTURE_TROUBLES[error.name] ?? PICTURE_TROUBLES.NoPicture);
    }
  };

  const paste = async () => {
    trouble.replaceChildren();
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((name) => name.startsWith('image/'));
        if (type) return await fromPicture(await item.getType(type));
        if (item.types.includes('text/plain')) return await take([await (await item.getType('text/plain')).text()], { byHand: true });
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
    // Files that are named for what they are have to be let in.
    accept: 'image/*,.svg,.heic,.tif,.tiff,.pdf',
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
        attempt(send, () => take([typed.value], { byHand: true }));
      },
    },
    h('label', { for: 'typed' }, typedLabel),
    h('div', { class: 'joined' }, typed, send),
  );

  const panel = h(
    'div',
    { class: 'reader' },
    cameraAvailable()
      ? [viewer, choice, row(start, end, torchPlace)]
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
    const files = [...(event.clipboardData?.files ?? [])];
    const text = event.clipboardData?.getData('text/plain') ?? '';
    // Office programs give a picture of what they also give as text. Another file is named for what it is.
    const picture = files.find((item) => item.type.startsWith('image/')) ?? (text ? undefined : files[0]);
    if (picture) fromPicture(picture);
    else if (event.target !== typed) typed.value = text;
  };
  document.addEventListener('paste', pasted);
  return panel;
}
