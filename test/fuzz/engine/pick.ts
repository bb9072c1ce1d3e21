/** Choices by chance. */

export type Random = () => number;

/** A whole number from 0 up to, not including, `end`. */
export const below = (random: Random, end: number): number => Math.floor(random() * end);

export const oneOf = <T>(random: Random, values: readonly T[]): T => values[below(random, values.length)]!;

export const chance = (random: Random, probability: number): boolean => random() < probability;

export const bytes = (random: Random, length: number): Buffer =>
  Buffer.from(Array.from({ length }, () => below(random, 256)));

/** A number that a field of `bits` bits is apt to be handled wrongly with, or a small one. */
export function odd(random: Random, bits: number): number {
  const most = 2 ** bits - 1;
  const kind = random();
  if (kind < 0.5) return Math.min(most, below(random, 70));
  if (kind < 0.8) return oneOf(random, [0, 1, 2, most, most - 1, (most - 1) / 2, (most + 1) / 2]);
  return Math.floor(random() * (most + 1));
}

/** Bytes with one of them changed, or cut, or lengthened. */
export function damaged(random: Random, original: Buffer): Buffer {
  const result = Buffer.from(original);
  const kind = random();
  if (kind < 0.1) return result.subarray(0, below(random, result.length + 1));
  if (kind < 0.2) return Buffer.concat([result, bytes(random, 1 + below(random, 16))]);
  if (result.length === 0) return result;
  const at = below(random, result.length);
  result[at] = chance(random, 0.5) ? result[at]! ^ (1 << below(random, 8)) : odd(random, 8);
  return result;
}
