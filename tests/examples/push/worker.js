// The service worker: shows each message, also while no page is open.

const words = {
  'device.added': 'A device was logged in to your account',
  'device.revoked': 'A device was logged out of your account',
};

addEventListener('push', (event) => {
  const { type } = event.data.json();
  event.waitUntil(registration.showNotification(words[type] ?? 'Something happened in your account'));
});

addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(clients.openWindow('/login/devices'));
});
