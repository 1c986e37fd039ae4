// Text to a QR code. Loaded only where one is shown.

import encodeQR from './vendor/qr/index.js';

/** As the server draws it: 15 % of the picture may be unreadable, four modules of white around it. */
const LOOKS = { ecc: 'medium', border: 4 };

/**
 * Draws into an `<svg>`: one attribute changes, so there is never a moment without a picture.
 * @param {SVGSVGElement} svg
 * @param {string} text
 */
export function drawInto(svg, text) {
  const modules = /** @type {boolean[][]} */ (encodeQR(text, 'raw', LOOKS));
  let dark = '';
  modules.forEach((row, y) => {
    for (let x = 0; x < row.length; x++) {
      const start = x;
      while (row[x]) x++;
      if (x > start) dark += `M${start} ${y}h${x - start}v1H${start}z`;
    }
  });
  const path = svg.firstElementChild ?? svg.appendChild(document.createElementNS(svg.namespaceURI, 'path'));
  svg.setAttribute('viewBox', `0 0 ${modules.length} ${modules.length}`);
  path.setAttribute('d', dark);
}
