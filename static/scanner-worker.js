// Runs the vendored QR decoder off the main thread. One message in, one message out.

import decodeQR from './vendor/qr/decode.js';

addEventListener('message', ({ data: { id, milliseconds, width, height, data } }) => {
  let text = null;
  try {
    text = decodeQR({ width, height, data }, { timeLimit: milliseconds });
  } catch {
    // The decoder throws where there is no code, which is what most frames are.
  }
  postMessage({ id, text });
});
