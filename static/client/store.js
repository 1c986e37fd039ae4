// A value that changes, for whatever draws it: React's `useSyncExternalStore(store.subscribe, store.getSnapshot)`,
// Svelte's `$store`, Vue's `store.subscribe((value) => (ref.value = value))`.

/** @template {object} T */
export class Store {
  /** @param {T} value */
  constructor(value) {
    this._value = value;
    /** @type {Set<(value: T) => void>} */
    this._listeners = new Set();
    /** The value now: the same object until something changes. */
    this.getSnapshot = () => this._value;
    /**
     * Calls `listener` with the value, at once and after each change, until the function that it returns is called.
     * @param {(value: T) => void} listener
     * @returns {() => void}
     */
    this.subscribe = (listener) => {
      // One function may be given twice.
      const own = (/** @type {T} */ value) => listener(value);
      this._listeners.add(own);
      own(this._value);
      return () => void this._listeners.delete(own);
    };
  }

  /** @param {Partial<T>} members */
  change(members) {
    this._value = { ...this._value, ...members };
    [...this._listeners].forEach((listener) => listener(this._value));
  }
}
