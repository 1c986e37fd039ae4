// The pages' own client, of the server that they come from.

import { createClient } from './client/index.js';

export { isFinal, isRotating, offWake, onWake, ProblemError, retryTransient } from './client/index.js';

/** Where the application is mounted. */
export const root = new URL('..', import.meta.url);

export const {
  acceptInvite,
  addPasskey,
  approvePairing,
  authorize,
  cancelPairing,
  canKeepKey,
  claimPairing,
  claimTypedCode,
  createPairing,
  denyPairing,
  drawCode,
  installation,
  keyIsOutOfReach,
  listActivity,
  listApps,
  listDevices,
  listPairings,
  listPasskeys,
  logIn,
  logInByProvider,
  logOut,
  newSecret,
  passkeyOptions,
  proof,
  pushKey,
  readPairing,
  refreshKeys,
  removePasskey,
  renameDevice,
  reserveCode,
  revokeApp,
  revokeDevice,
  revokeOthers,
  setPushAddress,
  stepUp,
  stepUpOptions,
  tellPresence,
  watchAccount,
  watchPairing,
  whoAmI,
} = createClient({ baseUrl: root });

/**
 * @typedef {import('./client/types.js').Pairing} Pairing
 * @typedef {import('./client/types.js').Credential} Credential
 * @typedef {import('./client/types.js').Login} Login
 * @typedef {import('./client/types.js').Initiator} Initiator
 * @typedef {import('./client/types.js').Status} Status
 * @typedef {import('./client/types.js').Transport} Transport
 * @typedef {import('./client/types.js').NewDevice} NewDevice
 * @typedef {import('./client/types.js').Place} Place
 */
