// Whether this device may have missed something: it slept, the page was hidden, or the network was away. Listens to the
// page only while somebody wants to know.

/** A page that this much more time has passed for than its own clock counted has slept. */
const SLEPT = 1000;
const LOOK = 1000;

/** @type {Set<() => void>} */
const listeners = new Set();
/** @type {ReturnType<typeof setInterval> | undefined} */
let ticking = undefined;
let drifted = 0;

/**
 * Durations are counted by `performance.now()`, which no setting of the clock moves, and which stands still while some
 * devices sleep. The wall clock goes on then, however wrong it is: only that the two drift apart counts here.
 */
const drift = () => Date.now() - performance.now();

function lookAtClocks() {
  const before = drifted;
  drifted = drift();
  if (Math.abs(drifted - before) > SLEPT) wakeAll();
}

const wakeAll = () => [...listeners].forEach((listener) => listener());
const onVisibility = () => isVisible() && wakeAll();

/** Outside a page there is nothing to hide. */
export const isVisible = () => globalThis.document?.visibilityState !== 'hidden';

/** Calls `listener` whenever this device may have missed something. */
export function onWake(/** @type {() => void} */ listener) {
  listeners.add(listener);
  if (ticking !== undefined) return;
  drifted = drift();
  ticking = setInterval(lookAtClocks, LOOK);
  globalThis.addEventListener?.('online', wakeAll);
  globalThis.document?.addEventListener('visibilitychange', onVisibility);
}

export function offWake(/** @type {() => void} */ listener) {
  listeners.delete(listener);
  if (listeners.size || ticking === undefined) return;
  clearInterval(ticking);
  ticking = undefined;
  globalThis.removeEventListener?.('online', wakeAll);
  globalThis.document?.removeEventListener('visibilitychange', onVisibility);
}
