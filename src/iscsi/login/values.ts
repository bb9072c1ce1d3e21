/** The encodings of values in text (RFC 7143 6.1). All parsers return null for what is malformed. */

/** The longest simple-value, bytes (RFC 7143 6.1). */
export const VALUE_LIMIT = 255;

/**
 * A numerical-value: a decimal-constant or a hex-constant below 2^64. Values from 2^53 on are rounded, which
 * no key's range reaches.
 */
export function parseNumber(text: string): number | null {
  if (/^(0|[1-9][0-9]{0,19})$/.test(text)) return Number(text);
  if (/^0[xX]0*[0-9a-fA-F]{1,16}$/.test(text)) return Number(text);
  return null;
}

/** A boolean-value: `Yes` or `No`, in this case only. */
export function parseBoolean(text: string): boolean | null {
  if (text === 'Yes') return true;
  return text === 'No' ? false : null;
}

export function formatBoolean(value: boolean): string {
  return value ? 'Yes' : 'No';
}

/** A list-of-values: text-values separated by commas, none of them empty or longer than 255 bytes. */
export function parseList(text: string): readonly string[] | null {
  const values = text.split(',');
  return values.every((value) => value !== '' && Buffer.byteLength(value) <= VALUE_LIMIT) ? values : null;
}

/**
 * A binary-value as a hex-constant or a base64-constant, 1 to `limit` bytes. An odd number of hexadecimal digits
 * has a zero in front (RFC 7143 6.1: n digits are (n + 1) / 2 bytes). Base64 is that of RFC 4648 4 with its padding.
 * The length is checked before anything is decoded.
 */
export function parseBinary(text: string, limit: number): Buffer | null {
  const digits = text.slice(2);
  if (digits === '') return null;
  if (/^0[xX]/.test(text)) {
    if (digits.length > 2 * limit || !/^[0-9a-fA-F]+$/.test(digits)) return null;
    return Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  }
  if (!/^0[bB]/.test(text) || digits.length > 4 * Math.ceil(limit / 3)) return null;
  const bytes = Buffer.from(digits, 'base64');
  // What is no digit, padding that is missing, and bits that are left over do not survive the way back.
  return bytes.length <= limit && bytes.toString('base64') === digits ? bytes : null;
}

/** A hex-constant of these bytes, of which there is at least one. */
export function formatBinary(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')}`;
}
