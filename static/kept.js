// What the pages keep in this browser: for all tabs, and for one tab alone.

import { keeper } from './client/storage.js';

export const kept = keeper(() => globalThis.localStorage);
/** The same for this tab alone, until it is closed: over a reload. */
export const keptHere = keeper(() => globalThis.sessionStorage);
