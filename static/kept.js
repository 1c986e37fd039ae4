// What a page keeps in this browser beyond itself. Where it may not, or there is no more room, the page remembers by
// itself: until it is left everything works as if it were kept.

class Kept {
  /** @type {Map<string, string | null>} */ #remembered = new Map();
  #store;

  constructor(/** @type {() => Storage} */ store) {
    this.#store = store;
  }

  /** @returns {string | null} */
  get(/** @type {string} */ name) {
    return this.#remembered.get(name) ?? this.#ask((store) => store.getItem(name)) ?? null;
  }

  set(/** @type {string} */ name, /** @type {string} */ value) {
    this.#remembered.delete(name);
    this.#ask((store) => store.setItem(name, value));
    if (this.#ask((store) => store.getItem(name)) !== value) this.#remembered.set(name, value);
  }

  remove(/** @type {string} */ name) {
    this.#remembered.delete(name);
    this.#ask((store) => store.removeItem(name));
  }

  /** Whether what is kept outlives the page. */
  lasts() {
    const probe = 'pairing-probe';
    const found = this.#ask((store) => {
      store.setItem(probe, probe);
      return store.getItem(probe);
    });
    this.#ask((store) => store.removeItem(probe));
    return found === probe;
  }

  #ask(ask) {
    try {
      // Where cookies are blocked, even to name it throws.
      return ask(this.#store());
    } catch {
      return undefined;
    }
  }
}

export const kept = new Kept(() => globalThis.localStorage);
/** The same for this tab alone, until it is closed: over a reload. */
export const keptHere = new Kept(() => globalThis.sessionStorage);
