// Reads what a person scanned, pasted or typed. Decides by shape alone and opens nothing.

import { root } from './pairing.js';

/**
 * @typedef {{kind: 'pair' | 'join', id: string, code: string}
 *   | {kind: 'invite', code: string}
 *   | {kind: 'typed' | 'linked', userCode: string}
 *   | {kind: 'incomplete'}
 *   | {kind: 'foreign', host: string}
 *   | {kind: 'unknown'}} Code
 *   `pair`: shown by a device that wants in. `join`: shown by one that is in. `linked`: in the link of an application's
 *   device, which is to be compared with what that shows.
 */

/** Nothing longer is read: a link has some hundred characters, and a mail around it some thousand. */
const MAX_LENGTH = 20_000;
/** Typed codes and numbers; as `MAX_TYPED` in pairing_ws/core/codes.py. */
const MAX_TYPED = 256;
const UNSEEN = /[\p{Cc}\p{Default_Ignorable_Code_Point}\p{Cf}]/gu;
/** Hyphens, and what keyboards and word processors write in their place. */
const DASHES = /[\p{Pd}\u2212\u2043\u02d7\u30fc]/gu;

/**
 * With compatibility forms (NFKC), all decimal digits and all dashes as ASCII has them; without what nobody sees.
 * Blanks and lines are one blank each. pairing_ws/core/codes.py does the same.
 */
function folded(/** @type {string} */ text) {
  return text
    .normalize('NFKC')
    .replace(/\s/gu, ' ')
    .replace(UNSEEN, '')
    .replace(DASHES, '-')
    .replace(/[^\P{Nd}0-9]/gu, digit);
}

/** Digits of a script stand together from 0 to 9, so how many precede one says which it is. */
function digit(/** @type {string} */ letter) {
  const point = /** @type {number} */ (letter.codePointAt(0));
  let first = point;
  while (/\p{Nd}/u.test(String.fromCodePoint(first - 1))) first--;
  return String((point - first) % 10);
}

/** @param {string} text @returns {Code} */
export function readCode(text) {
  const userCode = readUserCode(text);
  if (userCode) return { kind: 'typed', userCode };
  // A link is pasted with the sentence around it, and the sentence's full stop.
  const links = text.length > MAX_LENGTH ? [] : (folded(text).match(/https?:\/\/[^\s<>"'“”«»]+/giu) ?? []);
  return likeliest(links.map((link) => link.replace(/[^\p{L}\p{N}/_~-]+$/u, '')), readLink).code;
}

const RANKS = ['pair', 'join', 'linked', 'invite', 'typed', 'incomplete', 'foreign', 'unknown'];

/**
 * Of several codes in one picture, the one that leads somewhere.
 * @param {string[]} texts
 * @returns {{text: string, code: Code}}
 */
export function likeliest(texts, read = readCode) {
  const codes = texts.map((text) => ({ text, code: read(text) }));
  codes.sort((one, other) => RANKS.indexOf(one.code.kind) - RANKS.indexOf(other.code.kind));
  return codes[0] ?? { text: '', code: { kind: 'unknown' } };
}

/** @param {string} link @returns {Code} */
function readLink(link) {
  try {
    return readUrl(new URL(link));
  } catch {
    return { kind: 'unknown' };
  }
}

/** @param {URL} url @returns {Code} */
export function readUrl(url) {
  if (url.origin !== root.origin) return { kind: 'foreign', host: url.host };
  if (!url.pathname.startsWith(root.pathname)) return { kind: 'unknown' };
  const path = readPart(url.pathname.slice(root.pathname.length));
  if (path === 'link') {
    const userCode = readUserCode(url.searchParams.get('user_code') ?? '');
    return userCode ? { kind: 'linked', userCode } : { kind: 'unknown' };
  }
  const [, kind, id] = /^(pair|join)\/([A-Za-z0-9_-]+)\/?$/.exec(path) ?? [];
  if (!kind) return { kind: 'unknown' };
  const code = readPart(url.hash.slice(1));
  if (!code) return { kind: 'incomplete' };
  if (kind === 'join' && id === 'invite') return { kind: 'invite', code };
  return { kind: /** @type {'pair' | 'join'} */ (kind), id, code };
}

/** An address bar percent-encodes what came along unseen. */
function readPart(/** @type {string} */ part) {
  try {
    return folded(decodeURIComponent(part)).replace(/ /g, '');
  } catch {
    return part;
  }
}

/**
 * Crockford's alphabet has no I, L, O and U, so that what people read as those is still understood.
 * @returns {string | null} `XXXX-XXXX`
 */
function readUserCode(/** @type {string} */ text) {
  if (text.length > MAX_TYPED) return null;
  const plain = folded(text).toUpperCase().replace(/[ -]/g, '').replace(/[IL]/g, '1').replace(/O/g, '0');
  return /^[0-9A-HJKMNP-TV-Z]{8}$/.test(plain) ? `${plain.slice(0, 4)}-${plain.slice(4)}` : null;
}

/** @returns {string | null} three digits */
export function readNumber(/** @type {string} */ text) {
  if (text.length > MAX_TYPED) return null;
  const plain = folded(text).replace(/[ -]/g, '');
  return /^[0-9]{3}$/.test(plain) ? plain : null;
}
