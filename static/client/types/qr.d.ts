/**
 * `path` is the `d` of the dark modules, in a square of `size` modules.
 * @param {string} text
 */
export declare function qrPath(text: string): {
    path: string;
    size: number;
};
/**
 * Draws into an `<svg>`: one attribute changes, so there is never a moment without a picture.
 * @param {SVGSVGElement} svg
 * @param {string} text
 */
export declare function drawQr(svg: SVGSVGElement, text: string): void;
