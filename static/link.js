// Reads what a person scanned, pasted or typed. Decides by shape alone and opens nothing.

import { root } from './pairing.js';

/**
 * @typedef {{kind: 'pair' | 'join', id: string, code: string}
 *   | {kind: 'invite', code: string}
 *   | {kind: 'typed', userCode: string}
 *   | {kind: 'incomplete'}
 *   | {kind: 'foreign', host: string}
 *   | {kind: 'unknown'}} Code
 *   `pair`: shown by a device that wants in. `join`: shown by one that is in.
 */

/** @param {string} text @returns {Code} */
export function readCode(text) {
  const trimmed = text.trim();
  const userCode = readUserCode(trimmed);
  if (userCode) return { kind: 'typed', userCode };
  if (!/^https?:\/\//i.test(trimmed) || !URL.canParse(trimmed)) return { kind: 'unknown' };
  return readUrl(new URL(trimmed));
}

/** @param {URL} url @returns {Code} */
export function readUrl(url) {
  if (url.origin !== root.origin) return { kind: 'foreign', host: url.host };
  if (!url.pathname.startsWith(root.pathname)) return { kind: 'unknown' };
  const [, kind, id] = /^(pair|join)\/([A-Za-z0-9_-]+)\/?$/.exec(url.pathname.slice(root.pathname.length)) ?? [];
  if (!kind) return { kind: 'unknown' };
  const code = url.hash.slice(1);
  if (!code) return { kind: 'incomplete' };
  if (kind === 'join' && id === 'invite') return { kind: 'invite', code };
  return { kind: /** @type {'pair' | 'join'} */ (kind), id, code };
}

/** Crockford's alphabet has no I, L, O and U, so that what people read as those is still understood. */
function readUserCode(text) {
  const plain = text.toUpperCase().replaceAll(/[\s-]/g, '').replaceAll(/[IL]/g, '1').replaceAll('O', '0');
  return /^[0-9A-HJKMNP-TV-Z]{8}$/.test(plain) ? `${plain.slice(0, 4)}-${plain.slice(4)}` : null;
}
