/** An answer of the server that is not a success, or (`unreachable`) no answer at all. */
export declare class ProblemError extends Error {
    code: string;
    http: number;
    members: Record<string, any>;
    retryAfter: number | undefined;
    /**
     * @param {string} code  the machine word of the problem document
     * @param {number} http  the HTTP status, 0 without an answer
     * @param {Record<string, any>} [members]  the whole document
     * @param {number} [retryAfter]  seconds
     */
    constructor(code: string, http: number, members?: Record<string, any>, retryAfter?: number);
}
/**
 * What was thrown, as a problem. `failed` is a mistake of the program's own, or of a function that it gave.
 * @param {unknown} error
 * @returns {ProblemError}
 */
export declare const problemOf: (error: unknown) => ProblemError;
/** Whether asking again is pointless, however often. */
export declare const isTerminal: (/** @type {ProblemError} */ { http, code }: ProblemError) => boolean;
