// The service worker of notifications: shows what a push message says, and opens the page that it is about when it is
// pressed. It keeps nothing and answers no request of pages.

const root = new URL('..', location.href);
const { clients, registration } = /** @type {any} */ (self);

/** @type {Record<string, [title: string, text: string]>} */
const WORDS = {
  'device.added': ['A device was logged in to your account', 'Was that not you? Log it out: press here.'],
  'device.revoked': ['A device was logged out of your account', 'Press here to see your devices.'],
  'passkey.added': ['A passkey was added to your account', 'Was that not you? Remove it: press here.'],
  'passkey.removed': ['A passkey was removed from your account', 'Was that not you? Press here to see your devices.'],
  Approved: ['This device was let in', 'Press here to log in, before the time is over.'],
};
// Of later servers. A browser wants every message to be shown.
const OTHERWISE = ['Something happened in your account', 'Press here to see your devices.'];

function read(/** @type {any} */ data) {
  try {
    return data?.json() ?? {};
  } catch {
    return {};
  }
}

addEventListener('push', (/** @type {any} */ event) => {
  const message = read(event.data);
  const kind = message.type ?? message.status;
  const [title, body] = WORDS[kind] ?? OTHERWISE;
  const shown = registration.showNotification(title, {
    body,
    // The same one again is no second one.
    tag: `${kind} ${message.deviceId ?? message.id} ${message.at ?? ''}`,
    timestamp: Date.parse(message.at ?? message.approvedAt) || Date.now(),
    data: new URL(kind === 'Approved' ? '.' : 'devices', root).href,
  });
  event.waitUntil(shown);
});

addEventListener('notificationclick', (/** @type {any} */ event) => {
  event.notification.close();
  event.waitUntil(show(event.notification.data));
});

async function show(/** @type {string} */ url) {
  const open = await clients.matchAll({ type: 'window', includeUncontrolled: true });
  const page = open.find((/** @type {any} */ each) => each.url.split('#')[0] === url);
  return page ? page.focus() : clients.openWindow(url);
}
