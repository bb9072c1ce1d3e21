/**
 * iSCSI names (RFC 7143 4.2.7) and their normal form (RFC 3722), and what is derived from them: ISIDs
 * and SCSI port names.
 */

import { flawOf, mapName, type NameFlaw } from './stringprep.js';

/** The longest iSCSI name, bytes of UTF-8 (RFC 7143 4.2.7.2). */
export const NAME_LIMIT = 223;

/** A naming authority: the type designator without its dot (RFC 7143 4.2.7.3). */
export type NameType = 'iqn' | 'eui' | 'naa';

/** The form of each type, for a normalised name (RFC 7143 4.2.7.4 to 4.2.7.6). */
const FORMS: readonly { type: NameType; form: RegExp; example: string }[] = [
  {
    type: 'iqn',
    form: /^iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:.+)?$/u,
    example: 'iqn.2001-04.com.example:disk1',
  },
  { type: 'eui', form: /^eui\.[0-9a-f]{16}$/u, example: 'eui.02004567a425678d' },
  { type: 'naa', form: /^naa\.([0-9a-f]{16}|[0-9a-f]{32})$/u, example: 'naa.52004567ba64678d' },
];

/**
 * The normal form of RFC 3722: lower case, NFKC, without invisible characters. Two names are the same if
 * their normal forms are equal byte for byte.
 */
export function normalizeIscsiName(name: string): string {
  return mapName(name);
}

/** Why a character may not be where it is. */
const FLAWS = {
  prohibited: 'is not allowed in an iSCSI name',
  bidirectional: 'is written from right to left, and an iSCSI name is not',
  unassigned: 'is not in Unicode 3.2, of which iSCSI names are',
} as const satisfies Record<NameFlaw['kind'], string>;

/** A name in normal form with its type, or a sentence that says what is wrong with it. */
export type ParsedName = { readonly name: string; readonly type: NameType } | { readonly error: string };

/**
 * Normalise and validate a name that a user configures: a "stored string" of RFC 3454 7, which has no unassigned code point.
 *
 * @example
 * parseIscsiName('iqn.2001-04.com.Example:Disk1'); // { name: 'iqn.2001-04.com.example:disk1', type: 'iqn' }
 */
export function parseIscsiName(text: string): ParsedName {
  const name = normalizeIscsiName(text);
  const length = Buffer.byteLength(name);
  if (length > NAME_LIMIT)
    return { error: `an iSCSI name has at most ${NAME_LIMIT} bytes, this one ${length}` };
  const known = FORMS.find(({ type }) => name.startsWith(`${type}.`));
  if (known === undefined) return { error: 'an iSCSI name starts with "iqn.", "eui." or "naa."' };
  const flaw = flawOf(name);
  if (flaw !== null) return { error: `${JSON.stringify(flaw.character)} ${FLAWS[flaw.kind]}` };
  if (!known.form.test(name)) return { error: `not of the form of ${known.example}` };
  return { name, type: known.type };
}

/**
 * The normal form of a name that a peer sent (a "query" of RFC 3454 7), or null if it cannot be one: empty, too long, or with control
 * characters. More than that is not demanded: initiators in the field use names of any form (QEMU appends
 * the name of its guest, spaces and all), and an unknown name is refused by access control anyway.
 */
export function receiveIscsiName(text: string): string | null {
  const name = normalizeIscsiName(text);
  if (name === '' || Buffer.byteLength(name) > NAME_LIMIT || /\p{Cc}/u.test(name)) return null;
  return name;
}

/** An ISID's six bytes as 12 lower-case hexadecimal digits (RFC 7143 11.12.5). */
export function formatIsid(isid: Uint8Array): string {
  return Buffer.from(isid).toString('hex');
}

/** SCSI name of an initiator port (RFC 7143 4.4.2): name, `,i,0x` and the ISID. */
export function initiatorPortName(initiatorName: string, isidHex: string): string {
  return `${initiatorName},i,0x${isidHex}`;
}
