// What can go wrong with a call, and whether asking again can help.

/** An answer of the server that is not a success, or (`unreachable`) no answer at all. */
export class ProblemError extends Error {
  /**
   * @param {string} code  the machine word of the problem document
   * @param {number} http  the HTTP status, 0 without an answer
   * @param {Record<string, any>} [members]  the whole document
   * @param {number} [retryAfter]  seconds
   */
  constructor(code, http, members = {}, retryAfter = undefined) {
    super(members.detail ?? members.title ?? code);
    this.name = 'ProblemError';
    this.code = code;
    this.http = http;
    this.members = members;
    this.retryAfter = retryAfter;
  }
}

/**
 * What was thrown, as a problem. `failed` is a mistake of the program's own, or of a function that it gave.
 * @param {unknown} error
 * @returns {ProblemError}
 */
export const problemOf = (error) =>
  error instanceof ProblemError ? error : new ProblemError('failed', 0, { detail: String(error) });

/** Whether asking again is pointless, however often. */
export const isTerminal = (/** @type {ProblemError} */ { http, code }) =>
  http === 401 || http === 404 || code === 'account_locked' || code === 'foreign_origin';
