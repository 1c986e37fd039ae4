export declare const CloseCode: {
    DONE: number;
    GOING_AWAY: number;
    INTERNAL_ERROR: number;
    RESTART: number;
    OVERLOADED: number;
    BAD_REQUEST: number;
    UNAUTHENTICATED: number;
    NOT_FOUND: number;
    TAKEN_OVER: number;
};
/**
 * Closes after which coming back is pointless, with the `code` of the error that says so.
 * @type {Record<number, string>}
 */
export declare const TERMINAL_CLOSE_CODES: Record<number, string>;
/** Closes that meet every waiting device at once: the first attempts to come back are spread. */
export declare const SPREAD_CLOSE_CODES: number[];
