// The pixels of a picture to the texts of its QR codes. Runs in the worker, or in the page where no worker runs.

import { decodeQRBatch } from './client/vendor/qr/decode.js';

/**
 * One byte per pixel.
 * @typedef {{width: number, height: number, data: Uint8Array}} Grey
 */

/** What a picture can be turned into before the decoder sees it. The decoder itself tries light on dark. */
const WAYS = {
  plain: (/** @type {Grey} */ grey) => grey,
  mirrored,
  stretched,
  smoothed,
  despeckled,
  sharpened,
  levelled,
  doubled,
  halved,
  // A code that the decoder just misses it often finds from another side.
  turned: (grey) => warped(grey, { turn: Math.PI / 6 }),
  shrunk: (grey) => warped(grey, { scale: 0.7 }),
  fromLeft: (grey) => warped(grey, { lean: [0.25, 0] }),
  fromRight: (grey) => warped(grey, { lean: [-0.25, 0] }),
  fromAbove: (grey) => warped(grey, { lean: [0, 0.25] }),
  fromBelow: (grey) => warped(grey, { lean: [0, -0.25] }),
  // Colours of one brightness differ in at least one of these.
  reddish: (_, pixels) => channel(pixels, 0),
  bluish: (_, pixels) => channel(pixels, 2),
};

/**
 * @param {{width: number, height: number, data: Uint8ClampedArray}} pixels  RGBA
 * @param {{ways: string[][], milliseconds: number, sought: string}} how
 *   `ways`: each a chain of names from the list above. They are tried in turn until a text begins with `sought`;
 *   `milliseconds` is what each may spend on retries.
 * @returns {Promise<string[]>} each text once
 */
export async function decode(pixels, { ways, milliseconds, sought }) {
  const texts = new Set();
  const grey = greyOf(pixels);
  for (const way of ways) {
    const seen = way.reduce((before, name) => WAYS[name](before, pixels), grey);
    for (const text of await codesIn(seen, milliseconds)) texts.add(text);
    if ([...texts].some((text) => text.startsWith(sought))) break;
  }
  return [...texts];
}

/** @param {Grey} grey @param {number} timeLimit @returns {Promise<string[]>} */
async function codesIn(grey, timeLimit) {
  const { width, height } = grey;
  // `I420` begins with the plane of brightness and the decoder reads no further.
  const options = { maxSize: { width, height }, format: 'I420', effort: Infinity, timeLimit };
  const [found] = await decodeQRBatch([grey], /** @type {any} */ (options));
  // The last one is the error that ended the search.
  return found.filter((each) => typeof each === 'string');
}

const like = (/** @type {Grey} */ { width, height }) => ({ width, height, data: new Uint8Array(width * height) });

function greyOf(pixels) {
  const grey = like(pixels);
  for (let i = 0, at = 0; i < grey.data.length; i++, at += 4)
    grey.data[i] = (pixels.data[at] + 2 * pixels.data[at + 1] + pixels.data[at + 2]) >> 2;
  return grey;
}

function channel(pixels, offset) {
  const grey = like(pixels);
  for (let i = 0; i < grey.data.length; i++) grey.data[i] = pixels.data[4 * i + offset];
  return grey;
}

/** @param {Grey} grey */
function mirrored(grey) {
  const flipped = { ...grey, data: grey.data.slice() };
  for (let y = 0; y < grey.height; y++) flipped.data.subarray(y * grey.width, (y + 1) * grey.width).reverse();
  return flipped;
}

/** The darkest hundredth becomes black, the lightest white. @param {Grey} grey */
function stretched(grey) {
  const counts = new Uint32Array(256);
  for (const each of grey.data) counts[each]++;
  const few = grey.data.length / 100;
  let low = 0;
  let high = 255;
  for (let sum = counts[0]; sum < few && low < 255; ) sum += counts[++low];
  for (let sum = counts[255]; sum < few && high > 0; ) sum += counts[--high];
  return { ...grey, data: grey.data.map((each) => scaled(each - low, high - low)) };
}

const scaled = (part, whole) => (whole <= 0 ? 255 : Math.max(0, Math.min(255, Math.round((255 * part) / whole))));

/** Sums of everything above and to the left, which make each mean below four look-ups. @param {Grey} grey */
function sumsOf({ width, height, data }) {
  const sums = new Float64Array((width + 1) * (height + 1));
  for (let y = 0; y < height; y++) {
    let row = 0;
    for (let x = 0; x < width; x++) {
      row += data[y * width + x];
      sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
    }
  }
  return sums;
}

/** Calls `give` with the index of each pixel and the mean around it. */
function eachMean(/** @type {Grey} */ grey, radius, give) {
  const { width, height } = grey;
  const sums = sumsOf(grey);
  for (let y = 0; y < height; y++) {
    const top = Math.max(0, y - radius) * (width + 1);
    const bottom = Math.min(height, y + radius + 1) * (width + 1);
    for (let x = 0; x < width; x++) {
      const left = Math.max(0, x - radius);
      const right = Math.min(width, x + radius + 1);
      const area = ((bottom - top) / (width + 1)) * (right - left);
      give(y * width + x, (sums[bottom + right] - sums[bottom + left] - sums[top + right] + sums[top + left]) / area);
    }
  }
}

/** @param {Grey} grey */
function smoothed(grey) {
  const out = like(grey);
  eachMean(grey, 1, (i, mean) => (out.data[i] = mean));
  return out;
}

/** The edges of a blurred picture. @param {Grey} grey */
function sharpened(grey) {
  const out = { ...grey, data: new Uint8ClampedArray(grey.data.length) };
  eachMean(grey, 4, (i, mean) => (out.data[i] = grey.data[i] + 2.5 * (grey.data[i] - mean)));
  return out;
}

/** Black or white by the mean of the surroundings: shadows, lamps and curtains of light go. @param {Grey} grey */
function levelled(grey) {
  const out = like(grey);
  const radius = Math.max(8, Math.round(Math.min(grey.width, grey.height) / 16));
  eachMean(grey, radius, (i, mean) => (out.data[i] = grey.data[i] < mean - 2 ? 0 : 255));
  return out;
}

/** The median of five: single pixels that stand out go. @param {Grey} grey */
function despeckled(grey) {
  const { width, height, data } = grey;
  const out = { ...grey, data: data.slice() };
  const five = new Uint8Array(5);
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 1; x++) {
      const i = y * width + x;
      five[0] = data[i];
      five[1] = data[i - 1];
      five[2] = data[i + 1];
      five[3] = data[i - width];
      five[4] = data[i + width];
      out.data[i] = five.sort()[2];
    }
  return out;
}

/** @param {Grey} grey */
function doubled(grey) {
  const { width, height, data } = grey;
  const out = like({ width: 2 * width, height: 2 * height, data });
  for (let y = 0; y < out.height; y++) {
    const above = Math.min(height - 1, Math.max(0, (y - 1) >> 1));
    const below = Math.min(height - 1, above + (y ? 1 : 0));
    const down = y & 1 ? 0.25 : 0.75;
    for (let x = 0; x < out.width; x++) {
      const left = Math.min(width - 1, Math.max(0, (x - 1) >> 1));
      const right = Math.min(width - 1, left + (x ? 1 : 0));
      const along = x & 1 ? 0.25 : 0.75;
      const first = data[above * width + left] * (1 - along) + data[above * width + right] * along;
      const second = data[below * width + left] * (1 - along) + data[below * width + right] * along;
      out.data[y * out.width + x] = first * (1 - down) + second * down;
    }
  }
  return out;
}

/** @param {Grey} grey */
function halved(grey) {
  const { width, data } = grey;
  const out = like({ width: Math.max(1, width >> 1), height: Math.max(1, grey.height >> 1), data });
  if (width < 2 || grey.height < 2) return grey;
  for (let y = 0; y < out.height; y++)
    for (let x = 0; x < out.width; x++) {
      const i = 2 * y * width + 2 * x;
      out.data[y * out.width + x] = (data[i] + data[i + 1] + data[i + width] + data[i + width + 1]) >> 2;
    }
  return out;
}

/**
 * As another camera would have seen it: turned about the middle, smaller, or from a side. What comes from outside is grey.
 * @param {Grey} grey
 * @param {{turn?: number, scale?: number, lean?: number[]}} how
 */
function warped({ width, height, data }, { turn = 0, scale = 1, lean: [leanX, leanY] = [0, 0] }) {
  const [cos, sin] = [Math.cos(turn) / scale, Math.sin(turn) / scale];
  const fit = (along, across) => Math.round(scale * (along * Math.cos(turn) + across * Math.sin(turn)));
  const out = like({ width: fit(width, height), height: fit(height, width), data });
  out.data.fill(160);
  for (let y = 0; y < out.height; y++)
    for (let x = 0; x < out.width; x++) {
      const [dx, dy] = [x + 0.5 - out.width / 2, y + 0.5 - out.height / 2];
      const depth = 1 + (leanX * dx) / out.width + (leanY * dy) / out.height;
      const fromX = (cos * dx + sin * dy) / depth + width / 2 - 0.5;
      const fromY = (cos * dy - sin * dx) / depth + height / 2 - 0.5;
      const [left, top] = [Math.floor(fromX), Math.floor(fromY)];
      if (left < 0 || top < 0 || left + 1 >= width || top + 1 >= height) continue;
      const i = top * width + left;
      const upper = data[i] + (fromX - left) * (data[i + 1] - data[i]);
      const lower = data[i + width] + (fromX - left) * (data[i + width + 1] - data[i + width]);
      out.data[y * out.width + x] = upper + (fromY - top) * (lower - upper);
    }
  return out;
}
