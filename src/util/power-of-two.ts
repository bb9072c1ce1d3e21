/** Block sizes and granularities that peers tell. */

/** Whether `value`, a whole number below 2^48, is a power of two. */
export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
