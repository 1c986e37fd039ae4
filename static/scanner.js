// The camera and picture files to the texts of the codes in them. Knows nothing of pairing.

/** What the browser's own detector gets for one look before it counts as broken. */
const NATIVE_MS = 1500;
/** What the worker gets to start, and for each way of looking beside its retries. */
const WORKER_STARTS_MS = 6000;
const WORKER_LOOKS_MS = 2000;
/** What the decoder gets to be loaded into the page. */
const LOAD_MS = 15_000;
const PLAY_MS = 8000;
/** A picture that stands still for this long is shown to be a still. */
const FROZEN_MS = 4000;
/** What may be spent on retries per look: in a frame, in a picture. */
const FRAME_MS = 30;
const PICTURE_MS = 250;
/** When the search in a picture ends, whatever is left to try. */
const SEARCH_MS = 15_000;

/** Whether the page may use the live camera: browsers have the interface in secure contexts only. */
export const cameraAvailable = () => Boolean(navigator.mediaDevices?.getUserMedia);

const failure = (/** @type {string} */ name) => Object.assign(new Error(name), { name });

/** @template T @param {number} milliseconds @param {() => T | Promise<T>} work @returns {Promise<T>} */
async function within(milliseconds, work) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(failure('Late')), milliseconds)));
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What each frame is tried as, in turn; a plain look at the whole comes with every other one. */
const FRAME_WAYS = [[], ['mirrored'], ['stretched'], ['smoothed'], ['sharpened'], ['levelled'], ['halved']];

/**
 * Shows the camera in `video` and calls `onTexts` with what it sees (repeatedly, while a code is in view).
 * @param {HTMLVideoElement} video
 * @param {{
 *   sought: string,
 *   signal: AbortSignal,
 *   camera?: string,
 *   onTexts: (texts: string[]) => void,
 *   onFrozen: (frozen: boolean) => void,
 *   onEnd: (error: Error) => void,
 * }} how  `sought`: how the text begins that is looked for. `signal` stops the camera, and so does every failure.
 *   `onEnd`: it stopped by itself.
 * @returns {Promise<{cameras: {id: string, label: string}[], camera: string, light: ((on: boolean) => Promise<void>) | null}>}
 * @throws what `getUserMedia` does; `NoPicture` if the video does not play
 */
export async function startCamera(video, { sought, signal, camera, onTexts, onFrozen, onEnd }) {
  const { mediaDevices } = navigator;
  const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
  const open = (which) => mediaDevices.getUserMedia({ video: { ...which, ...size }, audio: false });
  const anyCamera = { facingMode: { ideal: 'environment' } };
  const stream = await (camera
    ? // It may have been removed by now.
      open({ deviceId: { exact: camera } }).catch((error) => {
        if (error.name !== 'OverconstrainedError' && error.name !== 'NotFoundError') throw error;
        return open(anyCamera);
      })
    : open(anyCamera));
  const [track] = stream.getVideoTracks();
  let running = true;
  const stop = () => {
    running = false;
    for (const each of stream.getTracks()) each.stop();
    video.srcObject = null;
  };
  const end = (/** @type {Error} */ error) => {
    if (!running) return;
    stop();
    onEnd(error);
  };
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  // A stop of our own is no event.
  track.addEventListener('ended', () => end(failure('Ended')));
  try {
    video.srcObject = stream;
    await within(PLAY_MS, () => video.play());
  } catch {
    stop();
    throw failure('NoPicture');
  }
  look(video, track, () => running, { sought, onTexts, onFrozen, end });
  const settings = track.getSettings?.() ?? {};
  return { cameras: await listCameras(), camera: settings.deviceId ?? '', light: lightOf(track) };
}

async function look(video, track, running, { sought, onTexts, onFrozen, end }) {
  let frozen = false;
  let moment = -1;
  let movedAt = performance.now();
  // Beside the decoder, which may take its time.
  const watch = setInterval(() => {
    if (!running()) return clearInterval(watch);
    // The page has turned to something else: no camera light without a picture.
    if (!video.isConnected) return end(failure('Gone'));
    // Not every camera that is unplugged fires an event.
    if (track.readyState === 'ended') return end(failure('Ended'));
    if (video.currentTime !== moment && !track.muted) {
      moment = video.currentTime;
      movedAt = performance.now();
    }
    if (frozen !== performance.now() - movedAt > FROZEN_MS) onFrozen((frozen = !frozen));
  }, 200);
  const canvas = document.createElement('canvas');
  for (let turn = 0; running(); turn++) {
    if (video.videoWidth && !frozen) {
      const { videoWidth: width, videoHeight: height } = video;
      const way = FRAME_WAYS[turn % FRAME_WAYS.length];
      // Far away codes are in the middle, and need all pixels there are; near ones fill the frame.
      const view = turn % 2 ? middle(width, height, 640) : whole(width, height, 1000);
      const how = { ways: way.length ? [[], way] : [[]], milliseconds: FRAME_MS, sought };
      try {
        const texts = await textsIn(draw(canvas, video, view), how);
        if (running() && texts.length) onTexts(texts);
      } catch (error) {
        return end(error);
      }
    }
    // A pause between frames keeps an old phone cool and its buttons quick.
    await new Promise((resolve) => setTimeout(resolve, 80));
  }
}

async function listCameras() {
  const devices = (await navigator.mediaDevices.enumerateDevices?.().catch(() => [])) ?? [];
  const cameras = devices.filter(({ kind, deviceId }) => kind === 'videoinput' && deviceId);
  return cameras.map(({ deviceId: id, label }, i) => ({ id, label: label || `Camera ${i + 1}` }));
}

/** @param {MediaStreamTrack} track */
function lightOf(track) {
  if (!(/** @type {any} */ (track.getCapabilities?.() ?? {}).torch)) return null;
  return (/** @type {boolean} */ torch) => track.applyConstraints(/** @type {any} */ ({ advanced: [{ torch }] }));
}

/** What a picture is tried as. First what is quick over all views of it, then what is thorough. */
const PICTURE_WAYS = [
  [[], ['mirrored']],
  [['stretched'], ['smoothed'], ['sharpened'], ['levelled']],
  [['doubled'], ['despeckled'], ['reddish'], ['bluish'], ['halved'], ['smoothed', 'smoothed', 'stretched']],
  [['turned'], ['shrunk'], ['fromLeft'], ['fromRight'], ['fromAbove'], ['fromBelow'], ['mirrored', 'turned'], ['levelled', 'turned']],
];

/**
 * @param {Blob} file
 * @param {string} sought  how the text begins that is looked for; the search goes on until there is one
 * @returns {Promise<string[]>} each text that was found
 * @throws `NoDecoder` if nothing here can read codes; else an error whose name says what the file is
 */
export async function readPicture(file, sought) {
  const { source, width, height, close } = await open(file);
  const canvas = document.createElement('canvas');
  const texts = new Set();
  const end = performance.now() + SEARCH_MS;
  try {
    search: for (const ways of PICTURE_WAYS)
      for (const view of views(width, height)) {
        const pixels = draw(canvas, source, view);
        for (const text of await textsIn(pixels, { ways, milliseconds: PICTURE_MS, sought })) texts.add(text);
        if ([...texts].some((text) => text.startsWith(sought))) return [...texts];
        if (performance.now() > end) break search;
      }
    // Browsers show what there is of a file.
    if (!texts.size && isCutOff(await examine(file))) throw failure('CutOff');
    return [...texts];
  } finally {
    close();
  }
}

/** @typedef {{x: number, y: number, width: number, height: number, scale: number}} View  a part of a picture */

/** @returns {View} */
const whole = (width, height, side) => ({ x: 0, y: 0, width, height, scale: Math.min(1, side / Math.max(width, height)) });

/** @returns {View} */
function middle(width, height, side) {
  const [w, h] = [Math.min(width, side), Math.min(height, side)];
  return { x: (width - w) >> 1, y: (height - h) >> 1, width: w, height: h, scale: 1 };
}

/**
 * A photo of a screen decodes better small (moiré blurs away), a screenshot of a small code better large, and a huge one
 * piece by piece, with every pixel it has.
 */
function* views(width, height) {
  const side = Math.max(width, height);
  yield whole(width, height, 1000);
  if (side > 1000) yield whole(width, height, 2000);
  if (side > 500) yield whole(width, height, 500);
  if (side <= 2000) return;
  for (let y = 0; y < height; y += 1200)
    for (let x = 0; x < width; x += 1200)
      yield { x, y, width: Math.min(1600, width - x), height: Math.min(1600, height - y), scale: 1 };
}

function draw(canvas, source, /** @type {View} */ { x, y, width, height, scale }) {
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext('2d', { willReadFrequently: true });
  // Transparent pictures are meant to be seen on white.
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, x, y, width, height, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** What an SVG is drawn as: it has no pixels of its own. */
const DRAWN = 1200;

/** @param {Blob} file */
async function open(file) {
  try {
    // Safari has it since 15.
    if ('createImageBitmap' in globalThis) {
      const bitmap = await createImageBitmap(file);
      return { source: bitmap, width: bitmap.width, height: bitmap.height, close: () => bitmap.close() };
    }
  } catch {
    // An `<img>` opens some more: SVG everywhere, and whatever else the browser knows.
  }
  const examined = await examine(file);
  const svg = examined.kind === 'svg';
  const address = URL.createObjectURL(svg ? new Blob([file], { type: 'image/svg+xml' }) : file);
  const close = () => URL.revokeObjectURL(address);
  try {
    const image = new Image();
    image.src = address;
    await within(PLAY_MS, () => image.decode());
    const [width, height] = [image.naturalWidth || DRAWN, image.naturalHeight || DRAWN];
    const scale = svg ? DRAWN / Math.max(width, height) : 1;
    if (!svg) return { source: image, width, height, close };
    const canvas = document.createElement('canvas');
    draw(canvas, image, { x: 0, y: 0, width, height, scale });
    return { source: canvas, width: canvas.width, height: canvas.height, close };
  } catch {
    close();
    throw failure(nameOf(examined));
  }
}

/** How files of these kinds begin, as Latin-1. @type {[RegExp, string][]} */
const BEGINNINGS = [
  [/^\x89PNG/, 'png'],
  [/^\xff\xd8\xff/, 'jpeg'],
  [/^GIF8/, 'gif'],
  [/^RIFF....WEBP/s, 'webp'],
  [/^....ftypavi[fs]/s, 'avif'],
  [/^....ftyp(hei|hev|mif1|msf1)/s, 'heic'],
  [/^(II\*\0|MM\0\*|II\+\0|MM\0\+)/, 'tiff'],
  [/^BM/, 'bmp'],
  [/^\s*%PDF-/, 'pdf'],
  [/<svg[\s>]/i, 'svg'],
];

/** @param {Blob} file @returns {Promise<{kind: string, bytes: Uint8Array}>} */
async function examine(file) {
  // Not `Blob.arrayBuffer`, which browsers of 2020 lack. It fails if the file was removed meanwhile.
  const bytes = new Uint8Array(await new Response(file).arrayBuffer().catch(() => new ArrayBuffer(0)));
  const beginning = String.fromCharCode(...bytes.subarray(0, 2000));
  return { kind: BEGINNINGS.find(([pattern]) => pattern.test(beginning))?.[1] ?? '', bytes };
}

/** Why the browser can't open it, as the name of an error. */
function nameOf({ kind, bytes }) {
  if (!bytes.length) return 'Empty';
  if (['heic', 'tiff', 'pdf'].includes(kind)) return kind.toUpperCase();
  if (!kind || kind === 'svg') return 'NoPicture';
  return isCutOff({ kind, bytes }) ? 'CutOff' : 'Damaged';
}

/** Whether the end is missing. What cameras add after it (a film, an edit) is none of ours. */
function isCutOff({ kind, bytes }) {
  const { length } = bytes;
  const at = (/** @type {number} */ i) => (bytes[i] << 8) | bytes[i + 1];
  const number = new DataView(bytes.buffer);
  let i = kind === 'png' ? 8 : 2;
  if (kind === 'png') {
    // Chunks, each with its length, its name and a checksum, up to IEND.
    while (i + 12 <= length && number.getUint32(i + 4) !== 0x49454e44) i += 12 + number.getUint32(i);
    return i + 12 > length;
  }
  if (kind === 'jpeg') {
    // Segments, each with its length, up to the first scan; in scans there is no marker of the end but the end.
    while (i + 4 <= length && at(i) !== 0xffda) i += 2 + at(i + 2);
    while (i + 2 <= length && at(i) !== 0xffd9) i++;
    return i + 2 > length;
  }
  if (kind === 'webp') return length < 12 || number.getUint32(4, true) + 8 > length;
  return kind === 'gif' && bytes[length - 1] !== 0x3b;
}

/**
 * The browser's own detector and ours: the one looks at what the other does not find the code in.
 * @param {ImageData} pixels
 * @param {{ways: string[][], milliseconds: number, sought: string}} how
 * @returns {Promise<string[]>}
 */
async function textsIn(pixels, how) {
  const detect = await (native = native ?? findNative());
  const seen = (await detect?.(pixels)) ?? [];
  if (seen.length) nativeReads = true;
  if (seen.some((text) => text.startsWith(how.sought))) return seen;
  try {
    const decode = await (own = own ?? inWorker().catch(inPage));
    return [...new Set([...seen, ...(await decode(pixels, how))])];
  } catch (error) {
    // Beside a detector that is known to read, ours is only the second.
    if (nativeReads) return seen;
    throw error;
  }
}

/** @type {Promise<((pixels: ImageData) => Promise<string[]>) | null> | undefined} */
let native;
let nativeReads = false;
/** @type {Promise<(pixels: ImageData, how: object) => Promise<string[]>> | undefined} */
let own;

/** Some announce a detector that rejects, throws or never answers: that one is not asked a second time. */
async function findNative() {
  const Native = /** @type {any} */ (globalThis).BarcodeDetector;
  try {
    const formats = (await within(NATIVE_MS, () => Native?.getSupportedFormats())) ?? [];
    if (!formats.includes('qr_code')) return null;
    const detector = new Native({ formats: ['qr_code'] });
    return async (/** @type {ImageData} */ pixels) => {
      try {
        const found = await within(NATIVE_MS, () => detector.detect(pixels));
        return found.map(({ rawValue }) => rawValue).filter(Boolean);
      } catch {
        native = Promise.resolve(null);
        return [];
      }
    };
  } catch {
    return null;
  }
}

async function inWorker() {
  const worker = new Worker(new URL('./scanner-worker.js', import.meta.url), { type: 'module' });
  const waiting = new Map();
  let last = 0;
  const broken = new Promise((_, reject) => {
    worker.addEventListener('error', () => reject(failure('NoWorker')));
    worker.addEventListener('messageerror', () => reject(failure('NoWorker')));
  });
  // Whether anybody waits for it when it breaks or not.
  broken.catch(() => {});
  const ready = new Promise((resolve) => {
    worker.addEventListener('message', ({ data }) => {
      if (data.ready) return resolve(true);
      waiting.get(data.id)?.(data.texts);
    });
  });
  const orBreak = async (milliseconds, answer) => {
    try {
      return await within(milliseconds, () => Promise.race([answer, broken]));
    } catch (error) {
      worker.terminate();
      throw error;
    }
  };
  await orBreak(WORKER_STARTS_MS, ready);
  return async (/** @type {ImageData} */ pixels, how) => {
    const id = ++last;
    const answer = new Promise((resolve) => waiting.set(id, resolve));
    try {
      worker.postMessage({ id, pixels: { width: pixels.width, height: pixels.height, data: pixels.data }, how });
      return await orBreak((1 + how.ways.length) * (WORKER_LOOKS_MS + how.milliseconds), answer);
    } catch {
      own = inPage();
      return (await own)(pixels, how);
    } finally {
      waiting.delete(id);
    }
  };
}

/** Slower when somebody presses a button meanwhile, but it reads. */
async function inPage() {
  try {
    const { decode } = await within(LOAD_MS, () => import('./decoding.js'));
    return decode;
  } catch {
    // The next look tries once more.
    own = undefined;
    throw failure('NoDecoder');
  }
}
