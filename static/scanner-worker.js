// Runs the decoder off the main thread. Says first that it runs, then gives one message for each that it gets.

import { decode } from './decoding.js';

addEventListener('message', async ({ data: { id, pixels, how } }) => {
  // What can't be decoded is a picture without a code, which is what most frames are.
  const texts = await decode(pixels, how).catch(() => []);
  postMessage({ id, texts });
});
postMessage({ ready: true });
