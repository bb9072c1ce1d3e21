/**
 * What a logical unit's answers say (SPC-4, SBC-3), read with the care that data from a peer needs: a page that
 * is shorter than its fields has those that are missing as `null` or 0. Control path: allocates.
 */

import { getU16, getU32, getU64 } from '../../util/fields.js';
import { describeSense } from '../sense.js';

/** Standard INQUIRY data (SPC-4 6.6.2). */
export interface StandardInquiry {
  /** PERIPHERAL QUALIFIER: 0 when there is a logical unit. */
  readonly qualifier: number;
  /** PERIPHERAL DEVICE TYPE: 0 for a disk. */
  readonly deviceType: number;
  readonly removable: boolean;
  /** VERSION: 5 is SPC-3, 6 SPC-4, 7 SPC-5. */
  readonly version: number;
  /** TPGS: 0 without asymmetric access, else whether states change implicitly (bit 0) and explicitly (bit 1). */
  readonly tpgs: number;
  readonly vendor: string;
  readonly product: string;
  readonly revision: string;
}

/** Capacity and what comes with it (SBC-3 5.15, 5.16). */
export interface Capacity {
  readonly blocks: number;
  /** Bytes. */
  readonly blockSize: number;
  /** Logical blocks in a physical one, as a power of two. */
  readonly physicalExponent: number;
  /** LBPME: thin provisioning. */
  readonly isThin: boolean;
  /** LBPRZ: what is unmapped reads as zeroes. */
  readonly unmappedReadsZero: boolean;
}

/** VPD page B0h (SBC-3 6.5.3); 0 where the unit reports no limit. Numbers of blocks, but for the descriptors. */
export interface BlockLimits {
  readonly maximumCompareAndWrite: number;
  readonly optimalTransferGranularity: number;
  readonly maximumTransfer: number;
  readonly optimalTransfer: number;
  readonly maximumUnmapBlocks: number;
  readonly maximumUnmapDescriptors: number;
  readonly optimalUnmapGranularity: number;
  readonly maximumWriteSame: number;
}

export const NO_LIMITS: BlockLimits = {
  maximumCompareAndWrite: 0,
  optimalTransferGranularity: 0,
  maximumTransfer: 0,
  optimalTransfer: 0,
  maximumUnmapBlocks: 0,
  maximumUnmapDescriptors: 0,
  optimalUnmapGranularity: 0,
  maximumWriteSame: 0,
};

/** VPD page B2h (SBC-3 6.5.5). */
export interface Provisioning {
  /** LBPU: UNMAP is supported. */
  readonly unmap: boolean;
  /** LBPWS: WRITE SAME(16) with the UNMAP bit is supported. */
  readonly writeSameUnmaps: boolean;
  /** PROVISIONING TYPE: 0 none reported, 1 resource provisioned, 2 thin. */
  readonly type: number;
}

/** A name of a logical unit or a port (SPC-4 7.8.6). */
export interface Designator {
  /** 0 for the logical unit, 1 for the target port, 2 for the target device. */
  readonly association: number;
  /** 1 T10 vendor, 2 EUI-64, 3 NAA, 4 relative target port, 5 target port group, 8 SCSI name. */
  readonly type: number;
  /** As text where the code set says text, else as hexadecimal digits. */
  readonly value: string;
}

/** A run of blocks of GET LBA STATUS (SBC-3 5.4.2). */
export interface LbaStatus {
  readonly lba: number;
  readonly blocks: number;
  readonly isMapped: boolean;
}

/** Sense data of either format (SPC-4 4.5). */
export interface ParsedSense {
  readonly key: number;
  readonly asc: number;
  readonly ascq: number;
  /** INFORMATION, where it is valid. */
  readonly information: number | null;
  /** In T10's words where Riser knows them. */
  readonly text: string;
}

/** Text of a peer, safe to print. */
export const printableText = (data: Buffer, from = 0, to = data.length): string =>
  data
    .toString('latin1', from, to)
    .replace(/[^\x20-\x7e]/g, ' ')
    .trim();

/** Null when it is too short to be one. */
export function parseStandardInquiry(data: Buffer): StandardInquiry | null {
  if (data.length < 36) return null;
  return {
    qualifier: data[0]! >> 5,
    deviceType: data[0]! & 0x1f,
    removable: (data[1]! & 0x80) !== 0,
    version: data[2]!,
    tpgs: (data[5]! >> 4) & 3,
    vendor: printableText(data, 8, 16),
    product: printableText(data, 16, 32),
    revision: printableText(data, 32, 36),
  };
}

/** The body of a VPD page, cut to what is there; null if `data` is no page `code`. */
export function vpdBody(data: Buffer, code: number): Buffer | null {
  if (data.length < 4 || data[1] !== code) return null;
  return data.subarray(4, 4 + getU16(data, 2));
}

/** READ CAPACITY(10) */
export function parseCapacity10(data: Buffer): Capacity | null {
  if (data.length < 8) return null;
  return {
    blocks: getU32(data, 0) + 1,
    blockSize: getU32(data, 4),
    physicalExponent: 0,
    isThin: false,
    unmappedReadsZero: false,
  };
}

/** READ CAPACITY(16) */
export function parseCapacity16(data: Buffer): Capacity | null {
  if (data.length < 12) return null;
  return {
    blocks: getU64(data, 0) + 1,
    blockSize: getU32(data, 8),
    physicalExponent: (data[13] ?? 0) & 0x0f,
    isThin: ((data[14] ?? 0) & 0x80) !== 0,
    unmappedReadsZero: ((data[14] ?? 0) & 0x40) !== 0,
  };
}

/** `body`: of page B0h. */
export function parseBlockLimits(body: Buffer): BlockLimits {
  const u32 = (offset: number): number => (body.length >= offset + 4 ? getU32(body, offset) : 0);
  return {
    maximumCompareAndWrite: body[1] ?? 0,
    optimalTransferGranularity: body.length >= 4 ? getU16(body, 2) : 0,
    maximumTransfer: u32(4),
    optimalTransfer: u32(8),
    maximumUnmapBlocks: u32(16),
    maximumUnmapDescriptors: u32(20),
    optimalUnmapGranularity: u32(24),
    maximumWriteSame: body.length >= 40 ? Math.min(getU64(body, 32), 0xffff_ffff) : 0,
  };
}

/** `body`: of page B2h. */
export function parseProvisioning(body: Buffer): Provisioning {
  const flags = body[1] ?? 0;
  return {
    unmap: (flags & 0x80) !== 0,
    writeSameUnmaps: (flags & 0x40) !== 0,
    type: (body[2] ?? 0) & 0x07,
  };
}

/** `body`: of page 83h. */
export function parseDesignators(body: Buffer): Designator[] {
  const designators: Designator[] = [];
  for (let at = 0; at + 4 <= body.length; at += 4 + body[at + 3]!) {
    const value = body.subarray(at + 4, at + 4 + body[at + 3]!);
    const isText = (body[at]! & 0x0f) >= 2;
    designators.push({
      association: (body[at + 1]! >> 4) & 3,
      type: body[at + 1]! & 0x0f,
      value: isText ? value.toString('utf8').replace(/\p{C}/gu, ' ').trimEnd() : value.toString('hex'),
    });
  }
  return designators;
}

/** LUNs of REPORT LUNS (SPC-4 6.33) as their eight bytes. */
export function parseReportLuns(data: Buffer): Buffer[] {
  if (data.length < 8) return [];
  const end = Math.min(data.length, 8 + getU32(data, 0));
  const luns: Buffer[] = [];
  for (let at = 8; at + 8 <= end; at += 8) luns.push(data.subarray(at, at + 8));
  return luns;
}

/** What is there of the descriptors of GET LBA STATUS. */
export function parseLbaStatus(data: Buffer): LbaStatus[] {
  if (data.length < 8) return [];
  const end = Math.min(data.length, 4 + getU32(data, 0));
  const found: LbaStatus[] = [];
  for (let at = 8; at + 16 <= end; at += 16) {
    // Only DEALLOCATED and ANCHORED are holes: SBC-4 has other words for what is mapped, or not known.
    const status = data[at + 12]! & 0x0f;
    const isMapped = status !== 1 && status !== 2;
    found.push({ lba: getU64(data, at), blocks: getU32(data, at + 8), isMapped });
  }
  return found;
}

/** Null if there is no sense data, or none of a format that exists. */
export function parseSense(data: Buffer): ParsedSense | null {
  const format = (data[0] ?? 0) & 0x7f;
  if (format === 0x70 || format === 0x71) {
    if (data.length < 8) return null;
    return sense(data[2]! & 0x0f, data[12] ?? 0, data[13] ?? 0, data[0]! & 0x80 ? getU32(data, 3) : null);
  }
  if ((format !== 0x72 && format !== 0x73) || data.length < 8) return null;
  let information: number | null = null;
  for (let at = 8; at + 2 <= data.length; at += 2 + data[at + 1]!) {
    if (data[at] === 0 && at + 12 <= data.length) information = getU64(data, at + 4);
  }
  return sense(data[1]! & 0x0f, data[2]!, data[3]!, information);
}

function sense(key: number, asc: number, ascq: number, information: number | null): ParsedSense {
  return { key, asc, ascq, information, text: describeSense(key, asc, ascq) };
}
