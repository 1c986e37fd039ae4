// The types of what goes over the wire, as JSDoc: no code.

/**
 * @typedef {'new_device' | 'logged_in_device'} Initiator
 * @typedef {'pending' | 'scanned' | 'approved' | 'consumed' | 'denied' | 'cancelled' | 'expired'} Status
 * @typedef {'connecting' | 'socket' | 'polling' | 'offline' | 'busy'} Transport   `busy`: the server asked for a pause
 *
 * @typedef {object} NewDevice            What the approver may know of the device that asks.
 * @property {{name: string, os?: string, appVersion?: string}} reported   its own claims
 * @property {{ip: string, userAgent?: string, network: 'same' | 'different' | 'unknown', place?: Place}} observed
 *   seen by the server
 * @property {string} [deviceId]          once it is logged in
 *
 * @typedef {{countryCode?: string, country?: string, city?: string}} Place   of an address, as a database says
 *
 * @typedef {object} Qr
 * @property {string} text                what the picture says
 * @property {string} [svg]
 * @property {string} [png]               a data URL
 * @property {{seed: string, seconds: number}} [rotate]   the picture changes: `drawCode` says to what
 *
 * @typedef {object} Pairing
 * @property {string} id
 * @property {Initiator} initiator
 * @property {Status} status
 * @property {number} version
 * @property {string} createdAt
 * @property {string} expiresAt
 * @property {number} expiresIn           seconds
 * @property {'undecided' | 'none' | 'number'} verification
 * @property {number} pollInterval        seconds
 * @property {string} [scannedAt]
 * @property {string} [approvedAt]
 * @property {NewDevice} [newDevice]      approver only
 * @property {{id: string, name: string, scopes: string[], logoUri?: string}} [client]   approver only: the application
 *   that gets access, in place of a device
 * @property {('place_differs' | 'many_requests' | 'network_differs')[]} [warnings]   approver only, if any
 * @property {string} [number]            approver only, once approved
 * @property {'device_limit' | 'device_quarantined'} [obstacle]   approver only, while approving would be refused
 * @property {string} [userCode]          creator only
 * @property {Qr} [qr]                    creator only
 * @property {true} [away]                the new device's page was left; the pairing ends soon unless it comes back
 * @property {number} [elapsedMs]         creator only, while a picture that rotates can be scanned
 *
 * @typedef {{id: string, username: string, displayName: string}} User
 * @typedef {{id: string, name: string}} Device
 *
 * @typedef {object} Login
 * @property {string} authKey
 * @property {string} [refreshKey]        unless it is in the cookie
 * @property {number} expiresIn           seconds
 * @property {User} user
 * @property {Device} device
 * @property {unknown} [host]             at a login: what the site's own backend gives this client
 *
 * @typedef {{secret: string, device?: Record<string, string>, unbound?: boolean}} NewDeviceCredential
 *   The new device holds a secret. It shows a key of its own as well, where the browser can keep one, and whatever it
 *   logs in with is then worth nothing elsewhere; `unbound` does without.
 * @typedef {{authKey: string}} SessionCredential
 * @typedef {NewDeviceCredential | SessionCredential} Credential
 * @typedef {{secret: string} | {authKey: (stale?: string) => Promise<string>}} LastingCredential
 *   For a watch, which may outlive an authKey: called with the refused key, the function fetches a new one.
 */

export {};
