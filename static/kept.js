// What a page keeps in this browser beyond itself. Where it may not, or there is no more room, the page remembers by
// itself: until it is left everything works as if it were kept.

/** @param {() => Storage} storage  where cookies are blocked, even to name it throws */
function keeper(storage) {
  /** @type {Map<string, string | null>} */
  const remembered = new Map();

  const inStore = (ask) => {
    try {
      return ask(storage());
    } catch {
      return undefined;
    }
  };

  return {
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
}

export const kept = keeper(() => globalThis.localStorage);
/** The same for this tab alone, until it is closed: over a reload. */
export const keptHere = keeper(() => globalThis.sessionStorage);
