// Written for this project: the part of the writer that it uses.
export default function encodeQR(
  text: string,
  output: 'raw',
  options?: { ecc?: 'low' | 'medium' | 'quartile' | 'high'; border?: number },
): boolean[][];
