/** Test data that tells where it belongs and which writing of it this is. */

/** `length` bytes in which no two blocks, and no two seeds, are alike. */
export function pattern(length: number, seed: number): Buffer {
  const data = Buffer.alloc(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i + 4 <= length; i += 4) {
    // Numerical Recipes' linear congruential generator.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data.writeUInt32LE(state, i);
  }
  return data;
}
