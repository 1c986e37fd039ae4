// What an installation says of itself: labels for its approver, which open nothing.

/**
 * Names the installation to itself.
 * @param {Crypto} crypto
 * @param {import('./storage.js').Keeper} kept
 * @param {string} place  which server's
 */
export function installationId(crypto, kept, place) {
  const name = `pairing-device:${place}`;
  let code = kept.get(name);
  if (!code) {
    code = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    kept.set(name, code);
  }
  return code;
}

/** The name of a browser's device, as its user agent has it. */
export const deviceName = (/** @type {string} */ agent) => `${browserName(agent)} on ${osName(agent)}`;

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
