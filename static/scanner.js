// Pixels to text: the camera, a picture file. The browser's own detector where there is one, else the vendored decoder
// in a worker. Knows nothing of pairing.

/** Whether the page may use the live camera: browsers have the interface in secure contexts only. */
export const cameraAvailable = () => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Shows the camera in `video` and calls `onText` with each decoded text (repeatedly, while the code is in view).
 * @param {HTMLVideoElement} video
 * @param {(text: string) => void} onText
 * @returns {Promise<() => void>} stops the camera
 */
export async function startCamera(video, onText) {
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: { ideal: 'environment' }, width: { ideal: 1280 }, height: { ideal: 720 } },
    audio: false,
  });
  video.srcObject = stream;
  await video.play();
  const decode = await decoder();
  const canvas = document.createElement('canvas');
  let running = true;
  const stop = () => {
    running = false;
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  };
  const look = async () => {
    if (!running) return;
    // The page has turned to something else: no camera light without a picture.
    if (!video.isConnected) return stop();
    if (video.videoWidth) {
      const text = await decode(draw(canvas, video, video.videoWidth, video.videoHeight, 1000), 40).catch(() => null);
      if (running && text) onText(text);
    }
    // A pause between frames keeps an old phone cool and its buttons quick.
    if (running) setTimeout(look, 80);
  };
  look();
  return stop;
}

/** @param {Blob} file @returns {Promise<string | null>} */
export async function readPicture(file) {
  const picture = await createImageBitmap(file);
  const decode = await decoder();
  const canvas = document.createElement('canvas');
  try {
    // A photo of a screen decodes better small (moiré blurs away), a screenshot of a small code better large.
    for (const side of [1000, 2000, 500]) {
      const text = await decode(draw(canvas, picture, picture.width, picture.height, side), 600).catch(() => null);
      if (text) return text;
    }
    return null;
  } finally {
    picture.close();
  }
}

function draw(canvas, source, width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext('2d', { willReadFrequently: true });
  // Transparent pictures are meant to be seen on white.
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** @type {Promise<(image: ImageData, milliseconds: number) => Promise<string | null>> | undefined} */
let found;
const decoder = () => (found ??= findDecoder());

async function findDecoder() {
  const Native = /** @type {any} */ (globalThis).BarcodeDetector;
  const formats = (await Native?.getSupportedFormats?.().catch(() => [])) ?? [];
  if (formats.includes('qr_code')) {
    const detector = new Native({ formats: ['qr_code'] });
    return async (image) => (await detector.detect(image))[0]?.rawValue ?? null;
  }
  const worker = new Worker(new URL('./scanner-worker.js', import.meta.url), { type: 'module' });
  const waiting = new Map();
  let last = 0;
  worker.addEventListener('message', ({ data }) => {
    waiting.get(data.id)?.(data.text);
    waiting.delete(data.id);
  });
  return (image, milliseconds) =>
    new Promise((resolve) => {
      const id = ++last;
      waiting.set(id, resolve);
      worker.postMessage({ id, milliseconds, width: image.width, height: image.height, data: image.data }, [
        image.data.buffer,
      ]);
    });
}
