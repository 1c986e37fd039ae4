// Who is logged in in this browser. The authKey lives in this tab's memory only; the refreshKey is in a cookie that no
// script can read. Tabs share one renewal and never log each other out.

import { kept } from './kept.js';
import { keyIsOutOfReach, logOut, ProblemError, refreshKeys, revokeDevice, root, whoAmI } from './pairing.js';

/** @typedef {import('./pairing.js').Login} Login */

const NAME = `pairing-session:${root.pathname}`;
/** Who the person has said to be: a cookie of anybody else's is not taken up before the person is asked. */
const USER = `pairing-user:${root.pathname}`;
/** Whether this browser may hold a session, for the cookie is invisible. Says nothing about whose. */
const VISITED = `pairing-visited:${root.pathname}`;
/** Why the server has ended the session: the page that comes next says it. */
const ENDED = `pairing-ended:${root.pathname}`;
/** Renewed so much before its end, or a quarter of a short life. */
const EARLY = 20_000;
/** How long the next in line waits for the last one's word, for a lock may overtake a message. A closed tab sends none. */
const OVERTAKEN = 500;

/** @type {(Login & {staleAt: number}) | null} */
let keys = null;
/** @type {Promise<typeof keys> | null} */
let renewing = null;

/**
 * `signed-in` (by another tab), `signed-out` (anywhere, or the server ended the session). An element, for an EventTarget
 * of one's own can't be made everywhere.
 */
export const events = document.createElement('i');

const tabs = 'BroadcastChannel' in globalThis ? new BroadcastChannel(NAME) : null;
tabs?.addEventListener('message', ({ data }) => {
  if (data.type === 'signed-out' && keys) {
    keys = null;
    events.dispatchEvent(new Event('signed-out'));
  } else if (data.type === 'signed-in') {
    if (!keys) events.dispatchEvent(new Event('signed-in'));
  } else if (data.type === 'renewed' && keys?.user.id === data.keys.user.id) {
    // Each tab counts its time from its own start.
    keys = { ...data.keys, staleAt: performance.now() + data.left };
  }
});

export const user = () => keys?.user ?? null;
export const device = () => keys?.device ?? null;

/** Takes up the session that the browser still holds. @returns {Promise<boolean>} whether there is one */
export async function restore() {
  // On a first visit the answer is known: asking would only fill the console with a refusal.
  return keys !== null || (mayHoldSession() && (await renew()) !== null);
}

const mayHoldSession = () => Boolean(kept.get(VISITED));
// A value of its own each time, so that a late refusal does not wipe out the mark of a newer login.
export const markVisited = () => kept.set(VISITED, String(Math.random()));

/**
 * Runs a call with a good authKey, once more if the server has just stopped taking it.
 * @template T
 * @param {(authKey: string) => Promise<T>} call
 */
export async function withKey(call) {
  const person = keys?.user.id;
  const authKey = await authKeyOf(person);
  try {
    return await call(authKey);
  } catch (error) {
    if (error.http !== 401) throw error;
    return call(await authKeyOf(person, authKey));
  }
}

/**
 * Logs a device out. It is no error if it is logged out already; what it has let in may still be there.
 * @param {string} id
 * @param {{descendants?: boolean}} [options]
 */
export const logOutDevice = (id, options = {}) =>
  withKey((key) => revokeDevice(id, key, options)).catch((error) => {
    if (error.http !== 404) throw error;
    if (options.descendants) throw new ProblemError('device_gone', 404);
  });

/** What a watch needs to stay authenticated. */
export const credential = { authKey: (/** @type {string | undefined} */ stale) => authKeyFor(stale) };

/** What a person has asked for is not done with the key of a user who has logged in meanwhile, in another tab. */
async function authKeyOf(person, stale = undefined) {
  const authKey = await authKeyFor(stale);
  if (person && keys?.user.id !== person) throw new ProblemError('unauthenticated', 401);
  return authKey;
}

async function authKeyFor(stale = undefined) {
  const good = keys && keys.authKey !== stale && performance.now() < keys.staleAt;
  const current = good ? keys : await renew(keys?.authKey);
  if (!current) throw new ProblemError('unauthenticated', 401);
  return current.authKey;
}

/** New keys, and a new cookie with them, though the old ones are still good. */
export const renewNow = () => renew(keys?.authKey);

/** Why the session ended, told once. @returns {string | null} */
export function takeEnd() {
  const why = kept.get(ENDED);
  kept.remove(ENDED);
  return why;
}

/** Starts using fresh keys, after the person has agreed to be this user. */
export function adopt(/** @type {Login} */ login) {
  keep(login);
  markVisited();
  kept.set(USER, login.user.id);
  kept.remove(ENDED);
  tabs?.postMessage({ type: 'signed-in' });
}

/** Ends the session: this one, or the one whose keys are given. */
export async function leave(authKey = undefined) {
  await (authKey ? logOut(authKey) : withKey(logOut)).catch((error) => {
    if (error.http !== 401) throw error;
  });
  keys = null;
  kept.remove(USER);
  kept.remove(VISITED);
  tabs?.postMessage({ type: 'signed-out' });
}

/**
 * The restored keys that nobody has confirmed yet. The cookie arrives with the login, before the person could say "not
 * me", or a neighbour site has planted it: a reload must ask.
 * @returns {Login | null}
 */
export const unconfirmed = () => (kept.get(USER) === keys?.user.id ? null : keys);
/** Whether the person has said to be somebody, and not logged out since. */
export const wasSomebody = () => kept.get(USER) !== null;

function keep(login) {
  keys = { ...login, staleAt: performance.now() + login.expiresIn * 1000 - Math.min(EARLY, login.expiresIn * 250) };
}

function renew(stale = undefined) {
  if (!renewing) {
    renewing = alone(() => renewOnce(stale)).finally(() => {
      renewing = null;
    });
  }
  return renewing;
}

async function renewOnce(stale) {
  // While this tab stood in line, another may have renewed for all.
  if (keys && keys.authKey !== stale) return keys;
  const mark = kept.get(VISITED);
  for (let attempt = 0; ; attempt++) {
    try {
      const login = await refreshKeys();
      if (!login.user) Object.assign(login, await whoAmI(login.authKey));
      markVisited();
      if (keys && keys.user.id !== login.user.id) {
        // Somebody else's cookie has taken the place of ours. Loaded again, the page asks whose it is to be.
        keys = null;
        events.dispatchEvent(new Event('signed-out'));
        return null;
      }
      keep(login);
      const { staleAt, ...shared } = /** @type {any} */ (keys);
      tabs?.postMessage({ type: 'renewed', keys: shared, left: staleAt - performance.now() });
      return keys;
    } catch (error) {
      if (error.code === 'already_refreshed' && attempt < 6) {
        // Another tab won; its answer has put the next cookie in place, or is about to.
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 300 * (attempt + 1)));
      } else if (error.code === 'invalid_proof' && keyIsOutOfReach()) {
        throw new ProblemError('key_out_of_reach', 0);
      } else if (error.http === 401) {
        const was = keys;
        keys = null;
        if (kept.get(VISITED) === mark) kept.remove(VISITED);
        if (error.members.reason) kept.set(ENDED, error.members.reason);
        if (was) events.dispatchEvent(new Event('signed-out'));
        return null;
      } else {
        throw error;
      }
    }
  }
}

/** Web Locks exist in secure contexts only; elsewhere `already_refreshed` and a retry do the same, less neatly. */
async function alone(/** @type {() => Promise<any>} */ work) {
  if (!navigator.locks) return work();
  const inTurn = () => work().finally(() => tabs?.postMessage({ type: 'done' }));
  let hear = (/** @type {MessageEvent} */ _) => {};
  const done = new Promise((resolve) => {
    hear = ({ data }) => data.type === 'done' && resolve(data);
  });
  tabs?.addEventListener('message', hear);
  try {
    let taken = false;
    const result = await navigator.locks.request(NAME, { ifAvailable: true }, (lock) => {
      taken = lock === null;
      return taken ? null : inTurn();
    });
    if (!taken) return result;
    return await navigator.locks.request(NAME, async () => {
      if (tabs) await Promise.race([done, new Promise((resolve) => setTimeout(resolve, OVERTAKEN))]);
      return inTurn();
    });
  } finally {
    tabs?.removeEventListener('message', hear);
  }
}
