/** Full jitter: anything between nothing and the ceiling, so that devices which fell together do not return together. */
export declare function backoff(/** @type {number} */ failures: number, cap?: number, base?: number): number;
/**
 * Ends early, without an error, when `signal` is aborted.
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export declare function sleep(ms: number, signal?: AbortSignal): Promise<void>;
/**
 * Repeats a call that may be repeated (the same holder gets the same answer) while nothing but the network is wrong.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {number} [seconds]  the server hands a lost login out again for 30 s
 * @returns {Promise<T>}
 */
export declare function retryTransient<T>(attempt: () => Promise<T>, seconds?: number): Promise<T>;
