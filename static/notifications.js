// The part of `/devices` about notifications (Web Push): whether this browser is told of what happens in the account while
// no page is open. Asks for the permission after a press alone, and is not there where the server or the browser can't.

import { pushKey, setPushAddress } from './pairing.js';
import * as session from './session.js';
import { button, h, row, say } from './ui.js';

const WORKER = new URL('push-worker.js', import.meta.url);

const text = h('p', { class: 'quiet' });
const place = h('div', {});
const section = h(
  'section',
  { class: 'notifications', 'aria-labelledby': 'notifications', hidden: true },
  h('h2', { id: 'notifications', tabindex: '-1' }, 'Notifications'),
  text,
  place,
);

export const notificationSection = () => section;

const canNotify = () => 'serviceWorker' in navigator && 'PushManager' in globalThis && 'Notification' in globalThis;

/** Draws it, and says the address once more: the server may have forgotten it, or this is another login. */
export async function startNotifications() {
  if (!canNotify()) return;
  const { applicationServerKey } = await pushKey();
  if (!applicationServerKey) return;
  section.hidden = false;
  const subscription = await current();
  const stands = subscription && Notification.permission === 'granted' && isFor(subscription, applicationServerKey);
  if (!stands) return drawOff(applicationServerKey);
  await register(subscription);
  drawOn(subscription, applicationServerKey);
}

function drawOff(applicationServerKey) {
  text.textContent =
    'Be told on this device when another one logs in to your account, or is logged out, also while this page is closed.';
  const turnOn = async () => {
    if ((await Notification.requestPermission()) !== 'granted') throw problem('notifications_blocked');
    const subscription = await subscribe(applicationServerKey);
    await register(subscription);
    drawOn(subscription, applicationServerKey);
    moveTo('Notifications are on');
  };
  place.replaceChildren(row(button('Turn notifications on', turnOn, { kind: 'secondary' })));
}

function drawOn(subscription, applicationServerKey) {
  text.textContent = 'This device is told when another one logs in to your account, or is logged out.';
  const turnOff = async () => {
    await session.withKey((key) => setPushAddress(session.device().id, '', key));
    await subscription.unsubscribe();
    drawOff(applicationServerKey);
    moveTo('Notifications are off');
  };
  place.replaceChildren(row(button('Turn notifications off', turnOff, { kind: 'secondary' })));
}

/** The button that was pressed is gone. */
function moveTo(/** @type {string} */ said) {
  say(said);
  place.querySelector('button')?.focus();
}

const register = (subscription) =>
  session.withKey((key) => setPushAddress(session.device().id, JSON.stringify(subscription), key));

/** What this browser has subscribed to, if anything. @returns {Promise<PushSubscription | null>} */
async function current() {
  const worker = await navigator.serviceWorker.getRegistration(WORKER.href);
  return worker?.active?.scriptURL === WORKER.href ? worker.pushManager.getSubscription() : null;
}

async function subscribe(applicationServerKey) {
  const worker = await navigator.serviceWorker.register(WORKER);
  await active(worker);
  try {
    // One of another key stands in the way.
    await (await worker.pushManager.getSubscription())?.unsubscribe();
    return await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey });
  } catch (error) {
    console.warn('Web Push:', error.name, error.message);
    throw problem('push_unreachable');
  }
}

/** Nothing can be subscribed to before. `ready` is of this page's own worker, which it has none. */
const active = (/** @type {ServiceWorkerRegistration} */ worker) =>
  new Promise((resolve, reject) => {
    const starting = worker.installing ?? worker.waiting;
    if (worker.active || !starting) return resolve(undefined);
    starting.addEventListener('statechange', () => {
      if (starting.state === 'activated') resolve(undefined);
      else if (starting.state === 'redundant') reject(problem('push_unreachable'));
    });
  });

/** @param {PushSubscription} subscription @param {string} key */
function isFor(subscription, key) {
  const bytes = subscription.options?.applicationServerKey;
  if (!bytes) return true;
  const text = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return text.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '') === key;
}

const problem = (/** @type {string} */ code) => Object.assign(new Error(code), { code });
