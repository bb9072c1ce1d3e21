/** CSCD descriptors (SPC-4 6.5): which logical unit is a copy source or destination. */

import { putU16 } from '../../util/fields.js';
import { unitDesignators } from '../designators.js';
import type { LogicalUnit } from '../logical-unit.js';

/** Identification Descriptor CSCD descriptor: a designator of VPD page 83h. The only type that is known here. */
export const IDENTIFICATION_DESCRIPTOR = 0xe4;
export const CSCD_DESCRIPTOR_LENGTH = 32;

/** CSCD descriptor ID that stands for the logical unit that has received the command. */
export const OWN_LOGICAL_UNIT = 0xffff;

/** The segment descriptor type block device to block device, the only one that is known here. */
export const BLOCK_TO_BLOCK = 0x02;

const PERIPHERAL_DEVICE_TYPE = 1;
const DESIGNATOR = 4;
const DESIGNATOR_LENGTH = 7;
/** The most bytes of a designator that the descriptor has room for. */
const MAXIMUM_DESIGNATOR_LENGTH = 20;
/** The DISK BLOCK LENGTH field, three bytes. */
export const DISK_BLOCK_LENGTH = 29;

/** The one of `units` that `descriptor` names, or null. */
export function findUnit(descriptor: Buffer, units: Iterable<LogicalUnit>): LogicalUnit | null {
  const length = descriptor[DESIGNATOR_LENGTH]!;
  if (length > MAXIMUM_DESIGNATOR_LENGTH) return null;
  const wanted = Buffer.from(descriptor.subarray(DESIGNATOR, DESIGNATOR + 4 + length));
  // As they are in CSCD descriptors: without PROTOCOL IDENTIFIER and PIV.
  wanted[0]! &= 0x0f;
  wanted[1]! &= 0x3f;
  wanted[2] = 0;
  for (const unit of units) {
    if (unitDesignators(unit).some((designator) => designator.equals(wanted))) return unit;
  }
  return null;
}

/** Whether it says that it is about a direct access block device. */
export function isOfDisk(descriptor: Buffer): boolean {
  return (descriptor[PERIPHERAL_DEVICE_TYPE]! & 0x1f) === 0;
}

/** DISK BLOCK LENGTH. */
export function diskBlockLength(descriptor: Buffer): number {
  return descriptor.readUIntBE(DISK_BLOCK_LENGTH, 3);
}

/** The descriptor of `unit`. */
export function cscdDescriptor(unit: LogicalUnit): Buffer {
  const bytes = Buffer.alloc(CSCD_DESCRIPTOR_LENGTH);
  bytes[0] = IDENTIFICATION_DESCRIPTOR;
  unitDesignators(unit)[0]!.copy(bytes, DESIGNATOR);
  putU16(bytes, DISK_BLOCK_LENGTH + 1, unit.blockSize);
  return bytes;
}
