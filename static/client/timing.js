// Pauses: how long to wait before a try is repeated.

import { problemOf } from './errors.js';

/** Full jitter: anything between nothing and the ceiling, so that devices which fell together do not return together. */
export function backoff(/** @type {number} */ failures, cap = 30_000, base = 1000) {
  return Math.random() * Math.min(cap, base * 2 ** failures);
}

/**
 * Ends early, without an error, when `signal` is aborted.
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function sleep(ms, signal = undefined) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end);
  });
}

/**
 * Repeats a call that may be repeated (the same holder gets the same answer) while nothing but the network is wrong.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {number} [seconds]  the server hands a lost login out again for 30 s
 * @returns {Promise<T>}
 */
export async function retryTransient(attempt, seconds = 25) {
  const end = performance.now() + seconds * 1000;
  for (let failures = 0; ; failures++) {
    try {
      return await attempt();
    } catch (thrown) {
      const error = problemOf(thrown);
      const pause = error.retryAfter ? error.retryAfter * 1000 : backoff(failures, 4000);
      const passing = error.code === 'unreachable' || error.http === 503;
      if (!passing || performance.now() + pause > end) throw thrown;
      await sleep(pause);
    }
  }
}
