// What went wrong, in plain words. The only place that turns a code of the wire contract into text for people.

/** @type {Record<string, [title: string, text: string]>} */
const PROBLEMS = {
  unreachable: ['No connection', 'The server cannot be reached. Check the connection and try again.'],
  unavailable: ['Just a moment', 'The server cannot answer right now. Nothing is lost; try again shortly.'],
  rate_limited: ['Too many tries', 'That was too often in a short time.'],
  bad_request: ['That did not work', 'The server did not understand this page. Load it again.'],
  unauthenticated: ['You are logged out', 'This browser is no longer logged in.'],
  doubled_cookie: [
    'You are logged out',
    'This browser held two logins for this site, and another site may have planted one. Both were taken away. Log in again; if this comes back, delete the cookies of this site.',
  ],
  invalid_proof: [
    'This browser could not prove its key',
    'It has lost the key that it asked with, or this site was opened under another address than its own. Start again with a new code.',
  ],
  key_out_of_reach: [
    'This browser does not find its key',
    'Its own store does not answer. Close the browser altogether, start it again, and open this page once more.',
  ],
  not_found: ['This code is not valid', 'The code is unknown or too old. Let the other device show a new one.'],
  already_claimed: [
    'Somebody was faster',
    'Another device has already scanned this code. If that was not you, let the new device show a fresh code.',
  ],
  not_scanned: ['Not scanned yet', 'No device has scanned this code so far.'],
  not_approved: ['Not approved yet', 'The other device has not approved this login yet.'],
  number_required: ['The number is missing', 'Type the number that the other device shows.'],
  number_mismatch: ['That is not the number', 'That is not the number that the other device shows.'],
  pairing_denied: ['The login was refused', 'The other device refused this login.'],
  login_refused: ['The login was refused', 'The service that you log in to does not let you in just now.'],
  pairing_cancelled: ['The login was cancelled', 'The device that showed the code has cancelled it.'],
  pairing_expired: ['The time is over', 'This code is too old. Start again with a new one.'],
  pairing_consumed: ['Already used', 'This code has already logged a device in. Each code works once.'],
  invalid_state: ['Too late', 'This login has already come to an end.'],
  same_device: [
    'This is the same device',
    'The code belongs to this very browser, which is logged in already. Scan the code of another device.',
  ],
  device_changed: [
    'The device has changed',
    'The device that logs in is not the one that asked. Start again with a new code.',
  ],
  device_quarantined: [
    'This device is still too new',
    'For your safety a new device cannot let others in or change them at first.',
  ],
  invite_used: ['This invitation is not valid', 'It was used already. Each invitation works once; ask for a new one.'],
  upstream_login_over: [
    'That took too long',
    'This login with the other provider was used already, or is too old. Start again.',
  ],
  invite_expired: ['This invitation is not valid', 'It is too old. Ask for a new one.'],
  device_gone: [
    'That device is gone',
    'It is logged out already. Look in the list of your devices whether others have to go.',
  ],
  device_limit: [
    'Too many devices',
    'Your account has as many devices as it may have. Log one out under “Your devices”, then try again.',
  ],
  bad_name: ['The name does not work', 'A name needs a visible character.'],
  step_up_refused: ['That was no proof', 'The server did not accept this passkey. Try again, or use another one.'],
  passkey_refused: ['The passkey was not added', 'The server did not accept this passkey. Try again, or use another one.'],
  passkey_limit: ['Too many passkeys', 'Your account has as many passkeys as it may have. Remove one first.'],
  passkey_cancelled: ['No passkey', 'You did not use a passkey, or it took too long. Try again when you are ready.'],
  passkey_known: ['You have that passkey', 'This passkey is in your account already.'],
  passkey_unavailable: ['No passkey here', 'This browser cannot use passkeys at this address.'],
  notifications_blocked: [
    'No notifications',
    'This browser did not allow notifications. Allow them for this site in its settings, then try again.',
  ],
  push_unreachable: [
    'No notifications',
    'This browser could not reach its own push service, which some browsers do not have. Try again later, or use another browser.',
  ],
  authorization_invalid: [
    'This link is broken',
    'The application sent you here with a link that cannot be answered. Go back to it and start again from there.',
  ],
  authorization_stale: [
    'That took a while',
    'The application may not wait for you any more. Start again, here or there.',
  ],
  foreign_origin: [
    'Open this site by its own address',
    'This page was opened under another name than the server’s own, and there it cannot keep you logged in. Type the address that the server was set up with.',
  ],
  network_refused: [
    'Not in the same network',
    'Here a device is let in only if it is in the same network as the one that allows it. Connect both to one network, then start again with a new code.',
  ],
  account_locked: ['The account is locked', 'This account is locked. Ask the people who run this server.'],
};

/** @param {any} error @returns {{title: string, text: string}} */
export function explain(error) {
  if (error?.code === 'wrong_direction') return wrongDirection(error.members.initiator);
  // In the words of the service that people log in to, where it has some.
  if (error?.code === 'login_refused' && error.members?.detail) {
    return { title: PROBLEMS.login_refused[0], text: error.members.detail };
  }
  if (error?.code === 'step_up_required') return stepUpRequired(error.members.methods ?? []);
  const over = error?.code === 'invalid_state' ? ENDS[error.members?.pairingStatus] : undefined;
  const [title, text] = over ?? PROBLEMS[error?.code] ?? [
    'That did not work',
    'Something unexpected happened. Load the page again.',
  ];
  const extra = error?.retryAfter ? ` Try again in ${about(error.retryAfter)}.` : '';
  if (!PROBLEMS[error?.code]) console.error(error);
  return { title, text: text + extra };
}

/** Where the page could not ask for the proof itself. @param {string[]} methods */
function stepUpRequired(methods) {
  const title = 'Show that it is you';
  if (methods.includes('host'))
    return { title, text: 'First confirm in the app that it is you, where you have logged in. Then try again.' };
  if (methods.includes('webauthn'))
    return { title, text: 'This needs your passkey, which this browser cannot use. Do it with another device.' };
  return {
    title,
    text: 'This needs a passkey, and your account has none. Ask the people who run this server for an invitation, log out all your devices, log in with it and add a passkey under “Your devices” at once.',
  };
}

/** @param {import('./pairing.js').Initiator} initiator  who showed the code */
export function wrongDirection(initiator) {
  return initiator === 'new_device'
    ? {
        title: 'This code asks to be let in',
        text: 'The device that shows it is not logged in either. Scan it with a device that is logged in.',
      }
    : {
        title: 'This code is for a new device',
        text: 'It logs in a device that is not logged in yet, and this one is. Scan it with the device that you want to add.',
      };
}

/**
 * What the approver is warned of, the gravest first. `grave`: more than what is usual for two devices of one person.
 * @param {import('./pairing.js').Pairing} pairing
 * @returns {{grave: boolean, texts: string[]}}
 */
export function warnings({ warnings: words = [], newDevice }) {
  const { country, countryCode } = newDevice?.observed.place ?? {};
  const known = {
    place_differs: `It seems to be in another country than this device: ${country ?? countryCode}.`,
    many_requests: 'There have been unusually many such requests lately. Somebody may be trying until you say yes.',
    network_differs: 'It is in another network than this device. That is usual if one of them uses mobile data.',
  };
  // Another country says more than another network, which may mean nothing.
  const told = words.filter((word) => word !== 'network_differs' || !words.includes('place_differs'));
  return {
    grave: told.some((word) => word !== 'network_differs'),
    texts: told.map((word) => known[word] ?? 'Something about this request is unusual.'),
  };
}

/** What of a claimed name people read at a glance; the rest would only make room for a story. */
const GLANCE = 40;

/**
 * A name that somebody else chose, as a quotation that it can't end by itself. In a page it stands as `claimed` of ui.js.
 * @param {string} name
 * @param {number} [most]  letters of it
 */
export function quoted(name, most = GLANCE) {
  const letters = [...name.replaceAll(/["“”„‟«»]/g, '’')];
  return `“${letters.length > most ? `${letters.slice(0, most - 1).join('')}…` : letters.join('')}”`;
}

/** The same where there is no element to isolate its direction: in labels and announcements (UAX 9: FSI, PDI). */
export const isolated = (/** @type {string} */ name) => `\u2068${quoted(name)}\u2069`;

/** @param {import('./pairing.js').Place} place */
export const placeName = ({ city, country, countryCode }) => [city, country ?? countryCode].filter(Boolean).join(', ');

/** What an application will be able to do, by its scopes (OpenID Connect Core, section 5.4). @type {Record<string, string>} */
const SCOPES = {
  openid: 'know that you are the same person each time',
  profile: 'see your name and user name',
  email: 'see your e-mail address',
  groups: 'see which groups you belong to',
  address: 'see your postal address',
  phone: 'see your telephone number',
  offline_access: 'keep this access until you take it away',
};

/** @param {string} scope */
export const scopeText = (scope) => SCOPES[scope] ?? `use ${isolated(scope)}`;

/**
 * What the approver is asked and told: of a device that wants in, or of an application that wants access.
 * @param {import('./pairing.js').Pairing} pairing
 */
export const consentWords = ({ client }) => (client ? APPLICATION : DEVICE);

const DEVICE = {
  title: 'Let this device in?',
  asks: 'A device wants to log in as ',
  waits: 'The device is logging in…',
  number: 'Type this number on the new device',
  without: 'Without it the device does not get in.',
  finished: 'The device is now logged in.',
  left: 'The device has left this login. Unless it comes back within seconds, nobody gets in.',
  denied: { title: 'Denied', text: 'The device was not let in.' },
  cancelled: { title: 'Cancelled', text: 'The device has given up. Nobody was let in.' },
  gone: { title: 'The device is gone', text: 'It has left this login. Nobody was let in.' },
  expired: { title: 'The time is over', text: 'The device was not let in. If it was you, start again with a new code.' },
};

const APPLICATION = {
  ...DEVICE,
  title: 'Give this application access?',
  asks: 'It asks for access to the account of ',
  waits: 'The application takes up its access within seconds…',
  number: 'Type this number where the application asks for it',
  without: 'Without it the application gets no access.',
  finished: 'The application now has access to your account.',
  left: 'The application has gone. Unless it comes back within seconds, it gets no access.',
  denied: { title: 'Denied', text: 'The application has got no access.' },
  cancelled: { title: 'Cancelled', text: 'The application has given up. It has got no access.' },
  gone: { title: 'The application is gone', text: 'It has got no access.' },
  expired: {
    title: 'The time is over',
    text: 'The application has got no access. If it was you, let it show a new code.',
  },
};

/** After the third wrong number, told to both sides. */
export const MISSED = {
  title: 'The number was wrong three times',
  text: 'Nobody was let in. If it was you, start again with a new code.',
};

/** How a pairing ended, told to the new device. */
export const ENDS = {
  denied: PROBLEMS.pairing_denied,
  cancelled: PROBLEMS.pairing_cancelled,
  expired: PROBLEMS.pairing_expired,
  consumed: PROBLEMS.pairing_consumed,
};

/** Why this browser was logged out, if not by itself. @type {Record<string, string>} */
export const SESSION_ENDS = {
  replaced:
    'You were logged out here: the code of this device has logged in again. If that was another machine, it is a copy of this one, and only one of the two can be logged in.',
  revoked: 'You were logged out here by another of your devices.',
  key_reused: 'You were logged out here: an old key of this browser was used again, perhaps by a copy of it.',
};

function about(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} seconds`;
  if (seconds < 5400) return `${Math.ceil(seconds / 60)} minutes`;
  return `${Math.ceil(seconds / 3600)} hours`;
}
