/** Serial number arithmetic on 32 bits (RFC 1982), as CmdSN, StatSN and friends need it (RFC 7143 4.2.2.1). */

/** Whether `a` is before `b`. Undefined (false) when they are exactly 2^31 apart. */
export function serialLess(a: number, b: number): boolean {
  const distance = (b - a) >>> 0;
  return distance !== 0 && distance < 0x8000_0000;
}

/** Whether `a` is `b` or before it. */
export function serialLessOrEqual(a: number, b: number): boolean {
  return a === b || serialLess(a, b);
}

/** `a + n` modulo 2^32. */
export function serialAdd(a: number, n: number): number {
  return (a + n) >>> 0;
}
