/** Outside a page there is nothing to hide. */
export declare const isVisible: () => boolean;
/** Calls `listener` whenever this device may have missed something. */
export declare function onWake(/** @type {() => void} */ listener: () => void): void;
export declare function offWake(/** @type {() => void} */ listener: () => void): void;
