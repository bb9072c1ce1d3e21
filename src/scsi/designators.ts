/** Designation descriptors (SPC-4 7.8.6.1): by which names logical units, ports and targets are known. */

import type { LogicalUnit } from './logical-unit.js';

const PROTOCOL_ISCSI = 0x5;
export const CodeSet = { BINARY: 1, ASCII: 2, UTF8: 3 } as const;
export const Association = { LOGICAL_UNIT: 0, TARGET_PORT: 1, TARGET_DEVICE: 2 } as const;
export const DesignatorType = {
  T10_VENDOR_ID: 1,
  NAA: 3,
  RELATIVE_TARGET_PORT: 4,
  TARGET_PORT_GROUP: 5,
  LOGICAL_UNIT_GROUP: 6,
  SCSI_NAME_STRING: 8,
} as const;

/** The designation descriptors of the logical unit itself: NAA, T10 vendor ID based, SCSI name string. */
export function unitDesignators(unit: LogicalUnit): Buffer[] {
  const { identity, vendor } = unit.configuration;
  const t10 = Buffer.from(vendor.padEnd(8).slice(0, 8) + identity.serialNumber, 'ascii');
  const name = `naa.${identity.naa.toString('hex').toUpperCase()}`;
  const { LOGICAL_UNIT } = Association;
  return [
    designator(CodeSet.BINARY, LOGICAL_UNIT, DesignatorType.NAA, identity.naa),
    designator(CodeSet.ASCII, LOGICAL_UNIT, DesignatorType.T10_VENDOR_ID, t10),
    designator(CodeSet.UTF8, LOGICAL_UNIT, DesignatorType.SCSI_NAME_STRING, nameString(name)),
  ];
}

/** A designation descriptor. */
export function designator(codeSet: number, association: number, type: number, value: Buffer): Buffer {
  const isOfPort = association !== Association.LOGICAL_UNIT;
  const header = Buffer.from([
    (isOfPort ? PROTOCOL_ISCSI << 4 : 0) | codeSet,
    (isOfPort ? 0x80 : 0) | (association << 4) | type,
    0,
    value.length,
  ]);
  return Buffer.concat([header, value]);
}

/** Null-terminated and padded to a multiple of four bytes (SPC-4 7.8.6.11). */
export function nameString(name: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const padded = Buffer.alloc((text.length + 4) & ~3);
  text.copy(padded);
  return padded;
}

/** The designation descriptor of a target device: its SCSI name string. */
export function targetDesignator(name: string): Buffer {
  return designator(
    CodeSet.UTF8,
    Association.TARGET_DEVICE,
    DesignatorType.SCSI_NAME_STRING,
    nameString(name),
  );
}
