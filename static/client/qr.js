// Text to a QR code, as what an SVG path draws.

import encodeQR from './vendor/qr/index.js';

/** As the server draws it: 15 % of the picture may be unreadable, four modules of white around it. */
const LOOKS = /** @type {const} */ ({ ecc: 'medium', border: 4 });

/**
 * `path` is the `d` of the dark modules, in a square of `size` modules.
 * @param {string} text
 */
export function qrPath(text) {
  const modules = encodeQR(text, 'raw', LOOKS);
  let path = '';
  modules.forEach((row, y) => {
    for (let x = 0; x < row.length; x++) {
      const start = x;
      while (row[x]) x++;
      if (x > start) path += `M${start} ${y}h${x - start}v1H${start}z`;
    }
  });
  return { path, size: modules.length };
}

/**
 * Draws into an `<svg>`: one attribute changes, so there is never a moment without a picture.
 * @param {SVGSVGElement} svg
 * @param {string} text
 */
export function drawQr(svg, text) {
  const { path, size } = qrPath(text);
  const dark = svg.firstElementChild ?? svg.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
  svg.setAttribute('viewBox', `0 0 ${size} ${size}`);
  dark.setAttribute('d', path);
}
