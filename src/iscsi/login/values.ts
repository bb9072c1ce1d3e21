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
