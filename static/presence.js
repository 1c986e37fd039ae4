// The pairings that this tab waits for, as the new device: kept over a reload, and told when the page is left, so that
// nobody at the other device waits for a page that was closed.

import { keptHere } from './kept.js';
import { root, tellPresence } from './pairing.js';

/** @typedef {import('./pairing.js').Pairing} Pairing */

const NAME = `pairing-waiting:${root.pathname}`;

/** By its id, each as it was made or claimed. @type {Map<string, {pairing: Pairing, secret: string}>} */
const waiting = new Map();
let leaving = false;

const keep = () => keptHere.set(NAME, JSON.stringify([...waiting.values()]));

/** From now on this page waits for it. */
export function stay(/** @type {Pairing} */ pairing, /** @type {string} */ secret) {
  waiting.set(pairing.id, { pairing, secret });
  keep();
}

/** It has ended, or goes on elsewhere. */
export function forget(/** @type {string} */ id) {
  waiting.delete(id);
  keep();
}

/** What a watch has heard: if the word that the page was left came after the one that it is back, says so again. */
export function heard(/** @type {Pairing} */ { id, away }) {
  if (away && !leaving && waiting.has(id)) tell(true, id);
}

/**
 * After a reload: those that this tab waited for and that the server still knows, as they are `now`.
 * @returns {Promise<{pairing: Pairing, secret: string, now: Pairing}[]>}
 */
export async function comeBack() {
  let before = [];
  try {
    before = JSON.parse(keptHere.get(NAME) ?? '[]');
  } catch {
    // Somebody else's.
  }
  const found = await Promise.all(
    before.map(async ({ pairing, secret }) => {
      try {
        return { pairing, secret, now: await tellPresence(pairing.id, secret, true) };
      } catch {
        return null;
      }
    }),
  );
  keptHere.remove(NAME);
  return found.filter((each) => each !== null);
}

function tell(/** @type {boolean} */ here, /** @type {string} */ id) {
  const { secret } = /** @type {any} */ (waiting.get(id));
  tellPresence(id, secret, here).catch(() => {});
}

addEventListener('pagehide', () => {
  leaving = true;
  for (const id of waiting.keys()) tell(false, id);
});
addEventListener('pageshow', ({ persisted }) => {
  leaving = false;
  if (persisted) for (const id of waiting.keys()) tell(true, id);
});
