// What a page keeps in this browser beyond itself. Where it may not, or there is no more room, the page remembers by
// itself: until it is left everything works as if it were kept.

/** @type {Map<string, string | null>} */
const remembered = new Map();

function inStore(ask) {
  try {
    // Where cookies are blocked, even to name it throws.
    return ask(globalThis.localStorage);
  } catch {
    return undefined;
  }
}

export const kept = {
  /** @returns {string | null} */
  get: (/** @type {string} */ name) => remembered.get(name) ?? inStore((store) => store.getItem(name)) ?? null,

  set(/** @type {string} */ name, /** @type {string} */ value) {
    remembered.delete(name);
    inStore((store) => store.setItem(name, value));
    if (inStore((store) => store.getItem(name)) !== value) remembered.set(name, value);
  },

  remove(/** @type {string} */ name) {
    remembered.delete(name);
    inStore((store) => store.removeItem(name));
  },

  /** Whether what is kept outlives the page. */
  lasts() {
    const probe = 'pairing-probe';
    const found = inStore((store) => {
      store.setItem(probe, probe);
      return store.getItem(probe);
    });
    inStore((store) => store.removeItem(probe));
    return found === probe;
  },
};
