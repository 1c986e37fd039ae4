// What is kept beyond this page. Where a browser keeps nothing, or there is no more room, the page remembers by itself:
// until it is left everything works as if it were kept.

/**
 * @typedef {object} Keeper
 * @property {(name: string) => string | null} get
 * @property {(name: string, value: string) => void} set
 * @property {(name: string) => void} remove
 * @property {() => boolean} lasts  whether what is kept outlives the page
 *
 * @typedef {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>} StorageLike
 */

/**
 * @param {() => StorageLike | null | undefined} storage  where cookies are blocked, even to name it throws
 * @returns {Keeper}
 */
export function keeper(storage) {
  /** @type {Map<string, string>} */
  const remembered = new Map();

  /**
   * @template T
   * @param {(store: StorageLike) => T} ask
   */
  const inStore = (ask) => {
    try {
      const store = storage();
      return store ? ask(store) : undefined;
    } catch {
      return undefined;
    }
  };

  return {
    get: (name) => remembered.get(name) ?? inStore((store) => store.getItem(name)) ?? null,

    set(name, value) {
      remembered.delete(name);
      inStore((store) => store.setItem(name, value));
      if (inStore((store) => store.getItem(name)) !== value) remembered.set(name, value);
    },

    remove(name) {
      remembered.delete(name);
      inStore((store) => store.removeItem(name));
    },

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
