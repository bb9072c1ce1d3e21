/**
 * What INQUIRY tells: the standard data (SPC-4 6.6.2) and the vital product data pages (SPC-4 7.8,
 * SBC-3 6.5). Built anew for each command: this is a control path.
 */

import { putU16, putU32, putU64 } from '../util/fields.js';
import type { LogicalUnitConfiguration } from './configuration.js';
import {
  Association,
  CodeSet,
  designator,
  DesignatorType,
  nameString,
  targetDesignator,
  unitDesignators,
} from './designators.js';
import {
  MAXIMUM_COMPARE_AND_WRITE_BLOCKS,
  MAXIMUM_UNMAP_DESCRIPTORS,
  MAXIMUM_UNMAP_LBA_COUNT,
  maximumAtomicTransferBlocks,
  maximumTransferBlocks,
  maximumWriteSameBlocks,
  OPTIMAL_TRANSFER_BYTES,
  WRITE_SAME_NON_ZERO,
} from './limits.js';
import type { LogicalUnit } from './logical-unit.js';
import type { Nexus } from './nexus.js';
import { thresholdExponent } from './provisioning-thresholds.js';
import { MAX_SENSE_LENGTH } from './sense.js';
import { thirdPartyCopyPage } from './third-party-copy/page.js';

/** Byte 0 of all INQUIRY data: peripheral qualifier and device type. */
const PERIPHERAL = { disk: 0x00, cdrom: 0x05 } as const;
/** No logical unit is possible here: qualifier 3h, device type 1Fh (SPC-4 table 174). */
const ABSENT = 0x7f;

const STANDARD_LENGTH = 96;
const VERSION_SPC_4 = 0x06;
const HISUP = 0x10;
const RESPONSE_DATA_FORMAT = 0x02;
/** Byte 5: who changes asymmetric access states. */
const TPGS_IMPLICIT = 0x10;
const TPGS_EXPLICIT = 0x20;
/** 3PC: there are third-party copy commands. */
const THIRD_PARTY_COPY = 0x08;
const CMDQUE = 0x02;
/** No version claimed of: SAM-5, SPC-4, SBC-3 or MMC-6 (SPC-4 annex D.7). The transport's comes behind them. */
const VERSION_DESCRIPTORS = {
  disk: [0x00a0, 0x0460, 0x04c0],
  cdrom: [0x00a0, 0x0460, 0x04e0],
} as const;

/** The words of standard INQUIRY data. */
export interface InquiryNames {
  readonly vendor: string;
  readonly product: string;
  readonly revision: string;
}

/** Standard INQUIRY data of a logical unit, as it tells it to `nexus`. */
export function standardInquiry(configuration: LogicalUnitConfiguration, nexus: Nexus): Buffer {
  const { type, removable, copyManager, targetPortGroups } = configuration;
  const data = inquiryHeader(PERIPHERAL[type], configuration);
  if (removable) data[1] = 0x80;
  if (targetPortGroups.groups.length > 0)
    data[5] = TPGS_IMPLICIT | (targetPortGroups.explicit ? TPGS_EXPLICIT : 0);
  if (copyManager !== null) data[5]! |= THIRD_PARTY_COPY;
  [...VERSION_DESCRIPTORS[type], nexus.versionDescriptor ?? 0].forEach((descriptor, i) => {
    putU16(data, 58 + 2 * i, descriptor);
  });
  return data;
}

/** Standard INQUIRY data for a LUN without a logical unit. */
export function absentInquiry(names: InquiryNames): Buffer {
  return inquiryHeader(ABSENT, names);
}

function inquiryHeader(peripheral: number, names: InquiryNames): Buffer {
  const data = Buffer.alloc(STANDARD_LENGTH);
  data[0] = peripheral;
  data[2] = VERSION_SPC_4;
  data[3] = HISUP | RESPONSE_DATA_FORMAT;
  data[4] = STANDARD_LENGTH - 5;
  data[7] = CMDQUE;
  data.write(names.vendor.padEnd(8).slice(0, 8), 8, 'ascii');
  data.write(names.product.padEnd(16).slice(0, 16), 16, 'ascii');
  data.write(names.revision.padEnd(4).slice(0, 4), 32, 'ascii');
  return data;
}

/** Builds the bytes of one page after its 4-byte header. */
type PageBody = (unit: LogicalUnit, nexus: Nexus) => Buffer;

/** In ascending order, as page 00h lists them. */
const PAGES: readonly { code: number; body: PageBody; isSupported?: (unit: LogicalUnit) => boolean }[] = [
  { code: 0x00, body: supportedPages },
  { code: 0x80, body: (unit) => Buffer.from(unit.configuration.identity.serialNumber, 'ascii') },
  { code: 0x83, body: deviceIdentification },
  { code: 0x86, body: extendedInquiryData },
  { code: 0x87, body: modePagePolicy, isSupported: isDisk },
  { code: 0x8f, body: thirdPartyCopyPage, isSupported: (unit) => unit.configuration.copyManager !== null },
  { code: 0xb0, body: blockLimits, isSupported: isDisk },
  { code: 0xb1, body: blockDeviceCharacteristics, isSupported: isDisk },
  { code: 0xb2, body: logicalBlockProvisioning, isSupported: isThin },
  { code: 0xb3, body: referrals, isSupported: hasReferrals },
];

/** The page `code` as `unit` tells it to `nexus`, or null when there is none. */
export function vitalProductDataPage(code: number, unit: LogicalUnit, nexus: Nexus): Buffer | null {
  const found = PAGES.find((p) => p.code === code);
  if (found === undefined || found.isSupported?.(unit) === false) return null;
  const body = found.body(unit, nexus);
  const header = Buffer.from([PERIPHERAL[unit.configuration.type], code, 0, 0]);
  putU16(header, 2, body.length);
  return Buffer.concat([header, body]);
}

function isDisk(unit: LogicalUnit): boolean {
  return unit.configuration.type === 'disk';
}

/** A disk of a target that has target port groups to refer to. */
function hasReferrals(unit: LogicalUnit): boolean {
  return isDisk(unit) && unit.targetPortGroups.groups.length > 0;
}

function isThin(unit: LogicalUnit): boolean {
  return unit.configuration.provisioning === 'thin';
}

function supportedPages(unit: LogicalUnit): Buffer {
  return Buffer.from(PAGES.filter((p) => p.isSupported?.(unit) !== false).map((p) => p.code));
}

// ---- 83h Device Identification (SPC-4 7.8.6) ----

/** The one logical unit group of a target: all of its logical units are in the same access states. */
const SAME_STATES = numberDesignator(1);

function deviceIdentification(unit: LogicalUnit, nexus: Nexus): Buffer {
  const { identity, targetPortGroups } = unit.configuration;
  const { LOGICAL_UNIT, TARGET_PORT } = Association;
  const port = numberDesignator(nexus.relativeTargetPort);
  const group = targetPortGroups.groupOf(nexus.relativeTargetPort);
  const portName = `${identity.targetName},t,0x${nexus.relativeTargetPort.toString(16).padStart(4, '0')}`;
  return Buffer.concat([
    ...unitDesignators(unit),
    ...(group === null
      ? []
      : [designator(CodeSet.BINARY, LOGICAL_UNIT, DesignatorType.LOGICAL_UNIT_GROUP, SAME_STATES)]),
    designator(CodeSet.BINARY, TARGET_PORT, DesignatorType.RELATIVE_TARGET_PORT, port),
    // Each portal group is a target port, and a target port group of its own unless it is put into another.
    designator(
      CodeSet.BINARY,
      TARGET_PORT,
      DesignatorType.TARGET_PORT_GROUP,
      group === null ? port : numberDesignator(group.id),
    ),
    designator(CodeSet.UTF8, TARGET_PORT, DesignatorType.SCSI_NAME_STRING, nameString(portName)),
    targetDesignator(identity.targetName),
  ]);
}

function numberDesignator(number: number): Buffer {
  return Buffer.from([0, 0, number >>> 8, number]);
}

// ---- the other pages ----

/** Length of the bodies of pages 86h, B0h and B1h. */
const BODY_LENGTH = 0x3c;

/** 86h Extended INQUIRY Data (SPC-4 7.8.7). Offsets are those of the whole page less 4, here and below. */
function extendedInquiryData(unit: LogicalUnit): Buffer {
  const body = Buffer.alloc(BODY_LENGTH);
  body[1] = 0x0f; // PRIOR_SUP, HEADSUP, ORDSUP, SIMPSUP
  if (isDisk(unit)) body[2] = 0x01; // V_SUP: there is a volatile cache
  body[3] = 0x01; // LUICLR: REPORT LUNS clears its unit attention for all units of the nexus
  if (hasReferrals(unit)) body[4] = 0x10; // R_SUP: there is REPORT REFERRALS
  body[9] = MAX_SENSE_LENGTH;
  return body;
}

/** 87h Mode Page Policy (SPC-4 7.8.8): one descriptor for all pages and subpages. */
function modePagePolicy(): Buffer {
  return Buffer.from([0x3f, 0xff, 0x00 /* shared by all nexuses, and by no other unit */, 0x00]);
}

/** B0h Block Limits (SBC-3 6.5.3). */
function blockLimits(unit: LogicalUnit): Buffer {
  const { blockSize } = unit;
  const body = Buffer.alloc(BODY_LENGTH);
  body[0] = Number(WRITE_SAME_NON_ZERO);
  body[1] = MAXIMUM_COMPARE_AND_WRITE_BLOCKS;
  putU16(body, 2, unit.logicalBlocksPerPhysical); // OPTIMAL TRANSFER LENGTH GRANULARITY
  putU32(body, 4, maximumTransferBlocks(blockSize));
  putU32(body, 8, OPTIMAL_TRANSFER_BYTES / blockSize);
  if (isThin(unit)) {
    putU32(body, 16, MAXIMUM_UNMAP_LBA_COUNT);
    putU32(body, 20, MAXIMUM_UNMAP_DESCRIPTORS);
    putU32(body, 24, unit.device.unmapGranularity / blockSize);
    if (unit.device.unmapGranularity > 0) putU32(body, 28, 0x8000_0000); // UGAVALID, alignment 0
  }
  putU64(body, 32, maximumWriteSameBlocks(blockSize));
  // Any alignment and granularity will do; there are no boundaries (SBC-4 6.6.4).
  putU32(body, 40, maximumAtomicTransferBlocks(unit.device.atomicWriteLimit ?? 0, blockSize));
  return body;
}

/** B1h Block Device Characteristics (SBC-3 6.5.2). */
function blockDeviceCharacteristics(unit: LogicalUnit): Buffer {
  const body = Buffer.alloc(BODY_LENGTH);
  putU16(body, 0, 1); // MEDIUM ROTATION RATE: does not rotate
  if (isThin(unit)) body[3] = 0x40; // WABEREQ 01b: what SANITIZE has erased is read without an error
  return body;
}

/** B2h Logical Block Provisioning (SBC-3 6.5.4). */
function logicalBlockProvisioning(unit: LogicalUnit): Buffer {
  return Buffer.from([
    unit.modePages.provisioning === null ? 0 : thresholdExponent(unit.blockSize), // THRESHOLD EXPONENT; 0: no thresholds
    0xe4, // LBPU, LBPWS, LBPWS10; LBPRZ: unmapped blocks read as zeroes
    0x02, // PROVISIONING TYPE: thin
    0,
  ]);
}

/** B3h Referrals (SBC-3): USER DATA SEGMENT SIZE and MULTIPLIER are zero, so that there is one segment, which REPORT REFERRALS tells. */
function referrals(): Buffer {
  return Buffer.alloc(12);
}
