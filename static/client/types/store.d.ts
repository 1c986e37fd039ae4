/** @template {object} T */
export declare class Store<T extends object> {
    _value: T;
    /** @type {Set<(value: T) => void>} */
    _listeners: Set<(value: T) => void>;
    /** The value now: the same object until something changes. */
    getSnapshot: () => T;
    /**
     * Calls `listener` with the value, at once and after each change, until the function that it returns is called.
     * @param {(value: T) => void} listener
     * @returns {() => void}
     */
    subscribe: (listener: (value: T) => void) => () => void;
    /** @param {T} value */
    constructor(value: T);
    /** @param {Partial<T>} members */
    change(members: Partial<T>): void;
}
