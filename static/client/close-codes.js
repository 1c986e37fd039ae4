// The close codes of the sockets. Written by scripts/docs from pairing_ws/web/close_codes.py.

export const CloseCode = {
  DONE: 1000, // the final state was delivered
  GOING_AWAY: 1001, // the server goes away
  INTERNAL_ERROR: 1011, // the server failed, or the client did not read for 10 s
  RESTART: 1012, // the server restarts, or its store went back in time
  OVERLOADED: 1013, // overloaded, or a store is away: wait for `retryAfter` first, or poll
  BAD_REQUEST: 4400, // the first message was malformed
  UNAUTHENTICATED: 4401, // the credential is missing, late, invalid or expired
  NOT_FOUND: 4404, // no such pairing for this holder: make a new one
  TAKEN_OVER: 4409, // a newer socket of the same device took over
};

/**
 * Closes after which coming back is pointless, with the `code` of the error that says so.
 * @type {Record<number, string>}
 */
export const TERMINAL_CLOSE_CODES = {
  4400: 'bad_request',
  4401: 'unauthenticated',
  4404: 'not_found',
  4409: 'taken_over',
};

/** Closes that meet every waiting device at once: the first attempts to come back are spread. */
export const SPREAD_CLOSE_CODES = [1001, 1012];
