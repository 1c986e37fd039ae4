// What this installation says of itself, and how a user agent reads in plain words.

import { kept } from './kept.js';
import { root } from './pairing.js';

const VERSION = '1.0.0';
const CODE = `pairing-device:${root.pathname}`;

export const deviceName = () => `${browserName(navigator.userAgent)} on ${osName(navigator.userAgent)}`;

/** The five headers of the wire contract, but for the push address, which a page has none of. */
export function deviceHeaders() {
  return {
    'X-Device-Code': deviceCode(),
    'X-Device-Name': encodeURIComponent(deviceName()),
    'X-Os-Device': encodeURIComponent(osName(navigator.userAgent)),
    'X-App-Version-Number': VERSION,
  };
}

/** Names the installation to itself; it is a label and opens nothing. */
function deviceCode() {
  let code = kept.get(CODE);
  if (!code) {
    code = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    kept.set(CODE, code);
  }
  return code;
}

export function browserName(/** @type {string} */ agent) {
  if (/Edg(e|A|iOS)?\//.test(agent)) return 'Edge';
  if (/OPR\//.test(agent)) return 'Opera';
  if (/SamsungBrowser\//.test(agent)) return 'Samsung Internet';
  if (/(Firefox|FxiOS)\//.test(agent)) return 'Firefox';
  if (/(Chrome|CriOS|Chromium)\//.test(agent)) return 'Chrome';
  if (/Safari\//.test(agent)) return 'Safari';
  return 'a browser';
}

export function osName(/** @type {string} */ agent) {
  const android = /Android ([\d.]{1,12})/.exec(agent);
  if (android) return `Android ${android[1]}`;
  if (/iPad/.test(agent)) return 'iPad';
  if (/iPhone/.test(agent)) return 'iPhone';
  if (/Windows/.test(agent)) return 'Windows';
  if (/CrOS/.test(agent)) return 'ChromeOS';
  if (/Mac OS X/.test(agent)) return 'macOS';
  if (/Linux/.test(agent)) return 'Linux';
  return 'an unknown system';
}
