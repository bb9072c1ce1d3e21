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
 * A binary-value: a hex-constant or base64-constant has the length of its digits; a decimal-constant is
 * as long as `decimalLength` bytes and is refused where that is 0.
 */
export function parseBinary(text: string, decimalLength = 0): Buffer | null {
  if (/^0[xX][0-9a-fA-F]+$/.test(text)) {
    const digits = text.slice(2);
    return Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  }
  if (/^0[bB]([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) && text.length > 2) {
    return Buffer.from(text.slice(2), 'base64');
  }
  if (decimalLength === 0 || !/^(0|[1-9][0-9]{0,19})$/.test(text)) return null;
  const value = BigInt(text);
  if (value >= 1n << BigInt(8 * decimalLength)) return null;
  return Buffer.from(value.toString(16).padStart(2 * decimalLength, '0'), 'hex');
}

/** A binary-value of at most 16 bits as a number (TargetPortalGroupTag, RFC 7143 13.9). */
export function parseBinary16(text: string): number | null {
  const bytes = parseBinary(text, 2);
  return bytes === null || bytes.length > 2 ? null : bytes.readUIntBE(0, bytes.length);
}
