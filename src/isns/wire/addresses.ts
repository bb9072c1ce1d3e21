/** IP addresses as iSNS has them: 16 bytes, IPv4 as IPv4-mapped IPv6 (RFC 4171 6.3.1). */

const BYTES = 16;

/** The 16 bytes of an IPv4 or IPv6 address, or null if `text` is none. */
export function parseAddress(text: string): Uint8Array | null {
  if (!text.includes(':')) {
    const ipv4 = parseIpv4(text);
    if (ipv4 === null) return null;
    const bytes = new Uint8Array(BYTES);
    bytes.fill(0xff, 10, 12);
    bytes.set(ipv4, 12);
    return bytes;
  }
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const [left, right] = halves.map(parseGroups);
  if (left === null || left === undefined || right === null) return null;
  const length = left.length + (right?.length ?? 0);
  // "::" stands for at least one group of zeroes.
  if (right === undefined ? length !== BYTES : length > BYTES - 2) return null;
  const bytes = new Uint8Array(BYTES);
  bytes.set(left, 0);
  if (right !== undefined) bytes.set(right, BYTES - right.length);
  return bytes;
}

/**
 * The text of 16 bytes: an IPv4-mapped address as IPv4, others as RFC 5952 has them. An IPv4-compatible one (RFC 4291
 * 2.5.5.1, deprecated) is IPv4 as well: isnsadm registers portals so.
 */
export function formatAddress(bytes: Uint8Array): string {
  const isMapped = bytes[10] === 0xff && bytes[11] === 0xff;
  const isCompatible = bytes[10] === 0 && bytes[11] === 0 && bytes[12] !== 0;
  if ((isMapped || isCompatible) && bytes.subarray(0, 10).every((byte) => byte === 0))
    return bytes.subarray(12).join('.');
  const groups: number[] = [];
  for (let i = 0; i < BYTES; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!);
  const { start, length } = longestZeroes(groups);
  const hex = (some: readonly number[]): string => some.map((group) => group.toString(16)).join(':');
  if (length < 2) return hex(groups);
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

/** The first of the longest runs of zeroes. */
function longestZeroes(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

/** One side of a "::", of which the last group may be an IPv4 address. */
function parseGroups(text: string): number[] | null {
  if (text === '') return [];
  const bytes: number[] = [];
  const groups = text.split(':');
  for (const [i, group] of groups.entries()) {
    const ipv4 = i === groups.length - 1 ? parseIpv4(group) : null;
    if (ipv4 !== null) bytes.push(...ipv4);
    else if (/^[0-9a-f]{1,4}$/i.test(group)) bytes.push(parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff);
    else return null;
  }
  return bytes;
}

function parseIpv4(text: string): number[] | null {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return null;
  const bytes = text.split('.').map(Number);
  return bytes.every((byte) => byte <= 0xff) ? bytes : null;
}
