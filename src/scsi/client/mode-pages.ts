/** What MODE SENSE(10) answers (SPC-4 7.5). Control path: allocates. */

import { getU16 } from '../../util/fields.js';

export interface ModePage {
  /** PAGE CODE */
  readonly page: number;
  /** SUBPAGE CODE; 0 for a page of the format without one. */
  readonly subpage: number;
  /** What follows the page's length. */
  readonly body: Buffer;
}

const HEADER_LENGTH = 8;

/** The mode pages in the parameter data of MODE SENSE(10); one that is cut short is left out. */
export function parseModePages(data: Buffer): ModePage[] {
  if (data.length < HEADER_LENGTH) return [];
  const end = Math.min(data.length, 2 + getU16(data, 0));
  const pages: ModePage[] = [];
  for (let at = HEADER_LENGTH + getU16(data, 6); at + 2 <= end;) {
    const hasSubpage = (data[at]! & 0x40) !== 0;
    const header = hasSubpage ? 4 : 2;
    if (at + header > end) break;
    const length = hasSubpage ? getU16(data, at + 2) : data[at + 1]!;
    const next = at + header + length;
    if (next > end) break;
    pages.push({
      page: data[at]! & 0x3f,
      subpage: hasSubpage ? data[at + 1]! : 0,
      body: data.subarray(at + header, next),
    });
    at = next;
  }
  return pages;
}
