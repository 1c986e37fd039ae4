// The server's calls by name. Each throws ProblemError; what it sends and gets is in types.js and in /openapi.json.

/**
 * @typedef {import('./types.js').Pairing} Pairing
 * @typedef {import('./types.js').Login} Login
 * @typedef {import('./types.js').Credential} Credential
 * @typedef {'cookie' | 'body'} Keys   where the refreshKey goes: with `cookie` it never reaches the page
 */

const at = encodeURIComponent;

const withoutDevice = (/** @type {Credential} */ by) => {
  const { device, ...rest } = /** @type {any} */ (by);
  return rest;
};

/**
 * @param {import('./http.js').Http} http
 * @param {() => Keys} usual  where the refreshKey goes if a caller does not say
 */
export const calls = (http, usual) => ({
  /**
   * `qr` is `svg`, `png` or `none`.
   * @param {Credential} by
   * @returns {Promise<Pairing>}
   */
  createPairing: (by, { qr = 'svg' } = {}) => http.introduce('pairings', by, { qr }),

  /**
   * @param {string} id @param {string} code @param {Credential} by
   * @returns {Promise<Pairing>}
   */
  claimPairing: (id, code, by) => http.introduce(`pairings/${at(id)}/claim`, by, { code }),

  /**
   * A code that can wait for a press, for as long as the answer says and for this holder alone. Changes nothing.
   * @param {string} id @param {string} code @param {Credential} by
   * @returns {Promise<{code: string, expiresIn: number}>}
   */
  reserveCode: (id, code, by) =>
    http.call('POST', `pairings/${at(id)}/keep`, { by: withoutDevice(by), body: { code } }),

  /**
   * @param {string} userCode @param {Credential} by
   * @returns {Promise<Pairing>}
   */
  claimTypedCode: (userCode, by) => http.introduce('pairings/claim', by, { userCode }),

  /**
   * With `wait` (seconds), answers as soon as the version is beyond `since`.
   * @param {string} id @param {Credential} by
   * @param {{since?: number, wait?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<Pairing>}
   */
  readPairing: (id, by, { since = 0, wait = 0, signal = undefined } = {}) =>
    http.call('GET', `pairings/${at(id)}${wait ? `?since=${since}&wait=${wait}` : ''}`, {
      by: withoutDevice(by),
      signal,
    }),

  /**
   * What this session may still decide or show, the newest first.
   * @param {string} authKey
   * @returns {Promise<{pairings: Pairing[]}>}
   */
  listPairings: (authKey) => http.call('GET', 'pairings', { by: { authKey } }),

  /**
   * Says whether the new device's page is there or just being left.
   * @param {string} id @param {string} secret @param {boolean} here
   * @returns {Promise<Pairing>}
   */
  tellPresence: (id, secret, here) =>
    http.call('POST', `pairings/${at(id)}/presence`, { by: { secret }, body: { here }, keepalive: !here }),

  /**
   * @param {string} id @param {string} authKey
   * @returns {Promise<Pairing>}
   */
  approvePairing: (id, authKey) => http.call('POST', `pairings/${at(id)}/approve`, { by: { authKey } }),

  /**
   * @param {string} id @param {string} authKey
   * @returns {Promise<Pairing>}
   */
  denyPairing: (id, authKey, { report = false } = {}) =>
    http.call('POST', `pairings/${at(id)}/deny`, { by: { authKey }, body: { report } }),

  /** @param {string} id @param {Credential} by @returns {Promise<null>} */
  cancelPairing: (id, by) => http.call('DELETE', `pairings/${at(id)}`, { by: withoutDevice(by) }),

  /**
   * @param {string} id @param {string} secret
   * @param {{number?: string, keys?: Keys}} [options]
   * @returns {Promise<Login>}
   */
  logIn: (id, secret, { number = undefined, keys = usual() } = {}) =>
    http.call('POST', `pairings/${at(id)}/login`, { by: { secret }, body: { number, keys }, proved: true }),

  /**
   * @param {string} code @param {Credential} by @param {{keys?: Keys}} [options]
   * @returns {Promise<Login>}
   */
  acceptInvite: (code, by, { keys = usual() } = {}) =>
    http.introduce('invites/accept', by, { code, keys }, { proved: true }),

  /**
   * Once the person has come back from the provider that the server knows: its cookie says so, in place of a secret.
   * @param {Record<string, string>} device @param {{keys?: Keys, unbound?: boolean}} [options]
   * @returns {Promise<Login>}
   */
  logInByProvider: (device, { keys = usual(), unbound = false } = {}) =>
    http.introduce('upstream/login', { secret: '', device, unbound }, { keys }, { proved: true }),

  /**
   * The refreshKey is in the cookie, or given.
   * @param {{refreshKey?: string, keys?: Keys}} [options]
   * @returns {Promise<Login>}
   */
  refreshKeys: ({ refreshKey = undefined, keys = refreshKey ? 'body' : 'cookie' } = {}) =>
    http.call('POST', 'sessions/refresh', { body: { refreshKey, keys }, proved: true }),

  /** @param {string} authKey @returns {Promise<null>} */
  logOut: (authKey) => http.call('DELETE', 'sessions/current', { by: { authKey } }),

  /** @param {string} authKey */
  whoAmI: (authKey) => http.call('GET', 'me', { by: { authKey } }),

  /** @param {string} authKey */
  listDevices: (authKey) => http.call('GET', 'devices', { by: { authKey } }),

  /**
   * A page, newest first; `before`: what `next` said on the one before.
   * @param {string} authKey @param {{only?: 'logins' | 'other', before?: string}} [query]
   */
  listActivity: (authKey, query = {}) =>
    http.call('GET', `activity${Object.keys(query).length ? `?${new URLSearchParams(query)}` : ''}`, {
      by: { authKey },
    }),

  /** @param {string} id @param {string} name @param {string} authKey */
  renameDevice: (id, name, authKey) => http.call('PATCH', `devices/${at(id)}`, { by: { authKey }, body: { name } }),

  /**
   * What a browser subscribes to push messages with: `applicationServerKey`, null where the server sends none.
   * @returns {Promise<{applicationServerKey: string | null}>}
   */
  pushKey: () => http.call('GET', 'push'),

  /**
   * Where this very device gets its push messages: `JSON.stringify` of a `PushSubscription`, or "" for nowhere.
   * @param {string} id @param {string} address @param {string} authKey
   */
  setPushAddress: (id, address, authKey) =>
    http.call('PATCH', `devices/${at(id)}`, { by: { authKey }, body: { pushToken: address } }),

  /**
   * `descendants`: also every device it let in.
   * @param {string} id @param {string} authKey @returns {Promise<null>}
   */
  revokeDevice: (id, authKey, { descendants = false } = {}) =>
    http.call('DELETE', `devices/${at(id)}${descendants ? '?descendants=true' : ''}`, { by: { authKey } }),

  /** @param {string} authKey */
  revokeOthers: (authKey) => http.call('POST', 'devices/revoke-others', { by: { authKey } }),

  /** What to ask `navigator.credentials` for, bytes as base64url. @param {string} authKey */
  passkeyOptions: (authKey) => http.call('POST', 'passkeys/options', { by: { authKey } }),

  /** @param {string} authKey */
  stepUpOptions: (authKey) => http.call('POST', 'sessions/current/step-up/options', { by: { authKey } }),

  /** @param {string} name @param {object} credential @param {string} authKey */
  addPasskey: (name, credential, authKey) =>
    http.call('POST', 'passkeys', { by: { authKey }, body: { name, credential } }),

  /** @param {string} authKey */
  listPasskeys: (authKey) => http.call('GET', 'passkeys', { by: { authKey } }),

  /** @param {string} id @param {string} authKey @returns {Promise<null>} */
  removePasskey: (id, authKey) => http.call('DELETE', `passkeys/${at(id)}`, { by: { authKey } }),

  /** @param {string} authKey */
  listApps: (authKey) => http.call('GET', 'apps', { by: { authKey } }),

  /** @param {string} id @param {string} authKey @returns {Promise<null>} */
  revokeApp: (id, authKey) => http.call('DELETE', `apps/${at(id)}`, { by: { authKey } }),

  /**
   * After a 403 `step_up_required`; then repeat the call.
   * @param {{credential: object} | {hostToken: string}} proof @param {string} authKey
   */
  stepUp: (proof, authKey) => http.call('POST', 'sessions/current/step-up', { by: { authKey }, body: proof }),

  /**
   * Answers an application's authorization request: `redirectTo`, or the `question` that the person has to decide first.
   * @param {{query: string, decision?: 'approve' | 'deny', started?: string}} request @param {string} authKey
   */
  authorize: (request, authKey) => http.call('POST', 'authorizations', { by: { authKey }, body: request }),
});
