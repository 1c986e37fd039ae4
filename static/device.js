// What these pages say of the device that they run on.

import { browserName, deviceName as nameOf, osName } from './client/device.js';
import { installation } from './pairing.js';

export { browserName, osName };

const VERSION = '1.0.0';

export const deviceName = () => nameOf(navigator.userAgent);

/** The five headers of the wire contract, but for the push address, which a page has none of. */
export function deviceHeaders() {
  return {
    'X-Device-Code': installation(),
    'X-Device-Name': encodeURIComponent(deviceName()),
    'X-Os-Device': encodeURIComponent(osName(navigator.userAgent)),
    'X-App-Version-Number': VERSION,
  };
}
