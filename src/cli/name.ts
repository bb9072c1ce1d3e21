/** Target names (RFC 7143 4.2.7): the ones that a user gives, and the default. */

import { createHash } from 'node:crypto';
import { NAME_LIMIT, parseIscsiName } from '../iscsi/names.js';
import { usageError } from './failure.js';

/**
 * The naming authority of default names. An iqn. name must rest on a domain that its maker owns (RFC
 * 7143 4.2.7.4). ICANN reserved `.internal` for private use in July 2024, so nobody else will ever own
 * this one; names below it are unique as far as host and image names are.
 */
const DEFAULT_AUTHORITY = 'iqn.2024-08.internal.riser';

/**
 * The iSCSI name in `text`, in normal form.
 *
 * @throws RiserError `USAGE` when it is no iSCSI name
 */
export function parseName(text: string): string {
  const parsed = parseIscsiName(text);
  if ('error' in parsed) throw usageError(`"${text}" is not an iSCSI name: ${parsed.error}`);
  return parsed.name;
}

/**
 * A name that stays the same as long as host and image keep theirs:
 * `iqn.2024-08.internal.riser:myhost:disk.img`.
 *
 * @param host the machine's name
 * @param image the file name of the first image, or `memory`
 */
export function defaultName(host: string, image: string): string {
  const prefix = `${DEFAULT_AUTHORITY}:${plain(host, 64)}:`;
  return prefix + plain(image, NAME_LIMIT - prefix.length);
}

/**
 * `text` in ASCII letters, digits, dashes and dots, at most `limit` of them. Where that loses something, a
 * part of its hash is appended, so that different texts stay different.
 */
function plain(text: string, limit: number): string {
  const lower = text.toLowerCase();
  const clean = lower.replace(/[^a-z0-9.-]+/g, '-').replace(/^[.-]+|[.-]+$/g, '');
  if (clean === lower && clean !== '' && clean.length <= limit) return clean;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return `${clean.slice(0, limit - 9)}-${hash}`.replace(/^-/, '');
}
