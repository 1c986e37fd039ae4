// The picture that rotates: which code it shows now.

import { base64url } from './device-key.js';
import { offWake, onWake } from './wake.js';

/** Whether a scanned code is one of a picture that rotates: it has to be claimed with, or reserved, within seconds. */
export const isRotating = (/** @type {string} */ code) => code.startsWith('~');

/**
 * Calls `draw` with what the picture has to say: once, or, if it rotates, at once and then at each step, until `draw`
 * returns false. In between nothing is sent and nothing asked; `watch`, the pairing's own, hears what time it is.
 *
 * @param {SubtleCrypto} subtle
 * @param {import('./types.js').Pairing} pairing  as created
 * @param {Pick<import('./watch.js').PairingWatch, 'elapsed' | 'read'>} watch
 * @param {(text: string) => boolean | void} draw
 */
export async function drawCode(subtle, { qr }, watch, draw) {
  if (!qr) throw new TypeError('drawCode takes the pairing as it was created');
  const { text, rotate } = qr;
  if (!rotate) return void draw(text);
  const address = text.slice(0, text.indexOf('#') + 1);
  const key = await rotationKey(subtle, rotate.seed);
  const length = rotate.seconds * 1000;
  let shown = -1;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer = undefined;

  const tick = async () => {
    clearTimeout(timer);
    const { elapsed } = watch;
    timer = setTimeout(tick, length - (elapsed % length));
    const step = Math.floor(elapsed / length);
    if (step === shown) return;
    shown = step;
    const code = await rotatingCode(subtle, key, step);
    if (step === shown && draw(address + code) === false) {
      clearTimeout(timer);
      offWake(wake);
    }
  };
  const wake = async () => {
    tick();
    await watch.read();
    tick();
  };
  onWake(wake);
  await tick();
}

/**
 * @param {SubtleCrypto} subtle
 * @param {string} seed  base64url
 */
export function rotationKey(subtle, seed) {
  const bytes = Uint8Array.from(atob(seed.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
  return subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
}

/**
 * RFC 6238 with SHA-256, and 128 bits for its digits.
 * @param {SubtleCrypto} subtle
 * @param {CryptoKey} key
 * @param {number} step
 */
export async function rotatingCode(subtle, key, step) {
  const counter = new DataView(new ArrayBuffer(8));
  counter.setUint32(0, Math.floor(step / 2 ** 32));
  counter.setUint32(4, step);
  const mac = await subtle.sign('HMAC', key, counter);
  return `~${base64url(new Uint8Array(mac, 0, 16))}`;
}
