/**
 * Sense data: why a command ended with CHECK CONDITION (SPC-4 4.5), and the one list of the sense
 * keys and additional sense codes that Riser reports.
 *
 * A {@link SenseData} is part of every task and written in place, in the fixed or the descriptor
 * format as D_SENSE of the control mode page demands.
 */

import { putU16, putU32, putU64 } from '../util/fields.js';

/** Sense keys (SPC-4 table 48). */
export const SenseKey = {
  NO_SENSE: 0x0,
  NOT_READY: 0x2,
  MEDIUM_ERROR: 0x3,
  HARDWARE_ERROR: 0x4,
  ILLEGAL_REQUEST: 0x5,
  UNIT_ATTENTION: 0x6,
  DATA_PROTECT: 0x7,
  COPY_ABORTED: 0xa,
  ABORTED_COMMAND: 0xb,
  MISCOMPARE: 0xe,
} as const;
export type SenseKey = (typeof SenseKey)[keyof typeof SenseKey];

/** A sense key with an additional sense code and qualifier, and T10's words for them. */
export interface SenseCode {
  readonly key: SenseKey;
  /** ADDITIONAL SENSE CODE. */
  readonly asc: number;
  /** ADDITIONAL SENSE CODE QUALIFIER. */
  readonly ascq: number;
  readonly text: string;
  /** INFORMATION that goes with it wherever it is reported. */
  readonly information?: number;
}

const K = SenseKey;
const code = (key: SenseKey, asc: number, ascq: number, text: string): SenseCode => ({
  key,
  asc,
  ascq,
  text,
});

/** Every sense code that Riser reports, by T10's name (SPC-4 annex F.2). */
export const Sense = {
  NO_SENSE: code(K.NO_SENSE, 0x00, 0x00, 'no additional sense information'),

  LOGICAL_UNIT_NOT_READY: code(K.NOT_READY, 0x04, 0x00, 'logical unit not ready, cause not reportable'),
  INITIALIZING_COMMAND_REQUIRED: code(
    K.NOT_READY,
    0x04,
    0x02,
    'logical unit not ready, initializing command required',
  ),
  ASYMMETRIC_ACCESS_STATE_TRANSITION: code(
    K.NOT_READY,
    0x04,
    0x0a,
    'logical unit not accessible, asymmetric access state transition',
  ),
  TARGET_PORT_IN_STANDBY_STATE: code(
    K.NOT_READY,
    0x04,
    0x0b,
    'logical unit not accessible, target port in standby state',
  ),
  TARGET_PORT_IN_UNAVAILABLE_STATE: code(
    K.NOT_READY,
    0x04,
    0x0c,
    'logical unit not accessible, target port in unavailable state',
  ),
  SANITIZE_IN_PROGRESS: code(K.NOT_READY, 0x04, 0x1b, 'logical unit not ready, sanitize in progress'),
  MEDIUM_NOT_PRESENT: code(K.NOT_READY, 0x3a, 0x00, 'medium not present'),
  MEDIUM_NOT_PRESENT_TRAY_OPEN: code(K.NOT_READY, 0x3a, 0x02, 'medium not present, tray open'),

  WRITE_ERROR: code(K.MEDIUM_ERROR, 0x0c, 0x00, 'write error'),
  UNRECOVERED_READ_ERROR: code(K.MEDIUM_ERROR, 0x11, 0x00, 'unrecovered read error'),
  SANITIZE_COMMAND_FAILED: code(K.MEDIUM_ERROR, 0x31, 0x03, 'sanitize command failed'),
  INTERNAL_TARGET_FAILURE: code(K.HARDWARE_ERROR, 0x44, 0x00, 'internal target failure'),

  PARAMETER_LIST_LENGTH_ERROR: code(K.ILLEGAL_REQUEST, 0x1a, 0x00, 'parameter list length error'),
  INVALID_COMMAND_OPERATION_CODE: code(K.ILLEGAL_REQUEST, 0x20, 0x00, 'invalid command operation code'),
  LBA_OUT_OF_RANGE: code(K.ILLEGAL_REQUEST, 0x21, 0x00, 'logical block address out of range'),
  INVALID_FIELD_IN_CDB: code(K.ILLEGAL_REQUEST, 0x24, 0x00, 'invalid field in CDB'),
  LOGICAL_UNIT_NOT_SUPPORTED: code(K.ILLEGAL_REQUEST, 0x25, 0x00, 'logical unit not supported'),
  INVALID_FIELD_IN_PARAMETER_LIST: code(K.ILLEGAL_REQUEST, 0x26, 0x00, 'invalid field in parameter list'),
  INVALID_RELEASE_OF_PERSISTENT_RESERVATION: code(
    K.ILLEGAL_REQUEST,
    0x26,
    0x04,
    'invalid release of persistent reservation',
  ),
  INCOMPATIBLE_FORMAT: code(K.ILLEGAL_REQUEST, 0x30, 0x02, 'cannot read medium, incompatible format'),
  SAVING_PARAMETERS_NOT_SUPPORTED: code(K.ILLEGAL_REQUEST, 0x39, 0x00, 'saving parameters not supported'),
  MEDIUM_REMOVAL_PREVENTED: code(K.ILLEGAL_REQUEST, 0x53, 0x02, 'medium removal prevented'),
  ILLEGAL_MODE_FOR_THIS_TRACK: code(K.ILLEGAL_REQUEST, 0x64, 0x00, 'illegal mode for this track'),
  INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT: code(
    K.ILLEGAL_REQUEST,
    0x0e,
    0x03,
    'invalid field in command information unit',
  ),

  MEDIUM_MAY_HAVE_CHANGED: code(
    K.UNIT_ATTENTION,
    0x28,
    0x00,
    'not ready to ready change, medium may have changed',
  ),
  POWER_ON_OR_RESET_OCCURRED: code(
    K.UNIT_ATTENTION,
    0x29,
    0x00,
    'power on, reset, or bus device reset occurred',
  ),
  BUS_DEVICE_RESET_OCCURRED: code(K.UNIT_ATTENTION, 0x29, 0x03, 'bus device reset function occurred'),
  I_T_NEXUS_LOSS_OCCURRED: code(K.UNIT_ATTENTION, 0x29, 0x07, 'I_T nexus loss occurred'),
  MODE_PARAMETERS_CHANGED: code(K.UNIT_ATTENTION, 0x2a, 0x01, 'mode parameters changed'),
  LOG_PARAMETERS_CHANGED: code(K.UNIT_ATTENTION, 0x2a, 0x02, 'log parameters changed'),
  RESERVATIONS_PREEMPTED: code(K.UNIT_ATTENTION, 0x2a, 0x03, 'reservations preempted'),
  RESERVATIONS_RELEASED: code(K.UNIT_ATTENTION, 0x2a, 0x04, 'reservations released'),
  REGISTRATIONS_PREEMPTED: code(K.UNIT_ATTENTION, 0x2a, 0x05, 'registrations preempted'),
  ASYMMETRIC_ACCESS_STATE_CHANGED: code(K.UNIT_ATTENTION, 0x2a, 0x06, 'asymmetric access state changed'),
  CAPACITY_DATA_HAS_CHANGED: code(K.UNIT_ATTENTION, 0x2a, 0x09, 'capacity data has changed'),
  COMMANDS_CLEARED_BY_ANOTHER_INITIATOR: code(
    K.UNIT_ATTENTION,
    0x2f,
    0x00,
    'commands cleared by another initiator',
  ),
  THIN_PROVISIONING_SOFT_THRESHOLD_REACHED: code(
    K.UNIT_ATTENTION,
    0x38,
    0x07,
    'thin provisioning soft threshold reached',
  ),
  COMMANDS_CLEARED_BY_ISCSI_PROTOCOL_EVENT: code(
    K.UNIT_ATTENTION,
    0x47,
    0x7f,
    'some commands cleared by iSCSI protocol event',
  ),
  REPORTED_LUNS_DATA_HAS_CHANGED: code(K.UNIT_ATTENTION, 0x3f, 0x0e, 'reported LUNs data has changed'),

  OPERATION_IN_PROGRESS: code(K.ILLEGAL_REQUEST, 0x00, 0x16, 'operation in progress'),
  UNSUPPORTED_TOKEN_TYPE: code(
    K.ILLEGAL_REQUEST,
    0x23,
    0x01,
    'invalid token operation, unsupported token type',
  ),
  TOKEN_UNKNOWN: code(K.ILLEGAL_REQUEST, 0x23, 0x04, 'invalid token operation, token unknown'),
  TOKEN_CORRUPT: code(K.ILLEGAL_REQUEST, 0x23, 0x05, 'invalid token operation, token corrupt'),
  TOKEN_REVOKED: code(K.ILLEGAL_REQUEST, 0x23, 0x06, 'invalid token operation, token revoked'),
  TOKEN_EXPIRED: code(K.ILLEGAL_REQUEST, 0x23, 0x07, 'invalid token operation, token expired'),
  TOKEN_DELETED: code(K.ILLEGAL_REQUEST, 0x23, 0x09, 'invalid token operation, token deleted'),
  INVALID_TOKEN_LENGTH: code(K.ILLEGAL_REQUEST, 0x23, 0x0a, 'invalid token operation, invalid token length'),
  TOO_MANY_TARGET_DESCRIPTORS: code(K.ILLEGAL_REQUEST, 0x26, 0x06, 'too many target descriptors'),
  UNSUPPORTED_TARGET_DESCRIPTOR_TYPE: code(
    K.ILLEGAL_REQUEST,
    0x26,
    0x07,
    'unsupported target descriptor type code',
  ),
  TOO_MANY_SEGMENT_DESCRIPTORS: code(K.ILLEGAL_REQUEST, 0x26, 0x08, 'too many segment descriptors'),
  UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE: code(
    K.ILLEGAL_REQUEST,
    0x26,
    0x09,
    'unsupported segment descriptor type code',
  ),
  INLINE_DATA_LENGTH_EXCEEDED: code(K.ILLEGAL_REQUEST, 0x26, 0x0b, 'inline data length exceeded'),
  INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN: code(
    K.ILLEGAL_REQUEST,
    0x55,
    0x0d,
    'insufficient resources to create ROD token',
  ),

  COPY_ABORTED: code(K.COPY_ABORTED, 0x00, 0x00, 'no additional sense information'),
  UNREACHABLE_COPY_TARGET: code(K.COPY_ABORTED, 0x08, 0x04, 'unreachable copy target'),
  THIRD_PARTY_DEVICE_FAILURE: code(K.COPY_ABORTED, 0x0d, 0x01, 'third party device failure'),
  COPY_TARGET_DEVICE_NOT_REACHABLE: code(K.COPY_ABORTED, 0x0d, 0x02, 'copy target device not reachable'),
  INCORRECT_COPY_TARGET_DEVICE_TYPE: code(K.COPY_ABORTED, 0x0d, 0x03, 'incorrect copy target device type'),
  INVALID_FIELD_IN_COPY_PARAMETERS: code(K.COPY_ABORTED, 0x26, 0x00, 'invalid field in parameter list'),
  UNEXPECTED_INEXACT_SEGMENT: code(K.COPY_ABORTED, 0x26, 0x0a, 'unexpected inexact segment'),

  WRITE_PROTECTED: code(K.DATA_PROTECT, 0x27, 0x00, 'write protected'),
  SOFTWARE_WRITE_PROTECTED: code(K.DATA_PROTECT, 0x27, 0x02, 'logical unit software write protected'),
  SPACE_ALLOCATION_FAILED: code(K.DATA_PROTECT, 0x27, 0x07, 'space allocation failed write protect'),

  UNEXPECTED_UNSOLICITED_DATA: code(
    K.ABORTED_COMMAND,
    0x0c,
    0x0c,
    'write error, unexpected unsolicited data',
  ),
  NOT_ENOUGH_UNSOLICITED_DATA: code(
    K.ABORTED_COMMAND,
    0x0c,
    0x0d,
    'write error, not enough unsolicited data',
  ),
  PROTOCOL_SERVICE_CRC_ERROR: code(K.ABORTED_COMMAND, 0x47, 0x05, 'protocol service CRC error'),
  DATA_PHASE_ERROR: code(K.ABORTED_COMMAND, 0x4b, 0x00, 'data phase error'),

  MISCOMPARE_DURING_VERIFY: code(K.MISCOMPARE, 0x1d, 0x00, 'miscompare during verify operation'),
} as const satisfies Record<string, SenseCode>;

const CODES: readonly SenseCode[] = Object.values(Sense);
const KEY_NAMES = Object.fromEntries(
  Object.entries(SenseKey).map(([name, key]) => [key, name.replaceAll('_', ' ')]),
) as Record<number, string>;

/** Words for a sense code as it stands on the wire: `ILLEGAL REQUEST, logical block address out of range (21/00)`. */
export function describeSense(key: number, asc: number, ascq: number): string {
  const known = CODES.find((c) => c.asc === asc && c.ascq === ascq);
  const hex = (byte: number) => byte.toString(16).padStart(2, '0');
  const keyName = KEY_NAMES[key] ?? `sense key ${hex(key)}`;
  return `${keyName}, ${known?.text ?? 'unknown'} (${hex(asc)}/${hex(ascq)})`;
}

/** Bytes of fixed format sense data as Riser writes it (SPC-4 4.5.3). */
export const FIXED_SENSE_LENGTH = 18;
const DESCRIPTOR_HEADER_LENGTH = 8;
const INFORMATION_DESCRIPTOR_LENGTH = 12;
const COMMAND_SPECIFIC_DESCRIPTOR_LENGTH = 12;
const KEY_SPECIFIC_DESCRIPTOR_LENGTH = 8;
/** The most bytes that sense data of either format takes. */
export const MAX_SENSE_LENGTH =
  DESCRIPTOR_HEADER_LENGTH + INFORMATION_DESCRIPTOR_LENGTH + KEY_SPECIFIC_DESCRIPTOR_LENGTH;

const RESPONSE_CODE_FIXED = 0x70;
const RESPONSE_CODE_DESCRIPTOR = 0x72;
const VALID = 0x80;
/** Sense key specific bytes: SKSV, C/D and BPV (SPC-4 4.5.2.4.2). */
const SKSV = 0x80;
const COMMAND_DATA = 0x40;
const BPV = 0x08;

/** Sense data in place: one buffer, written again for every command that needs it. */
export class SenseData {
  /** The sense data; read the first `length` bytes. */
  readonly bytes: Buffer = Buffer.alloc(MAX_SENSE_LENGTH);
  /** Bytes in use; 0 when there is no sense data. */
  length = 0;

  clear(): void {
    this.length = 0;
  }

  get key(): number {
    return this.#isDescriptor ? this.bytes[1]! : this.bytes[2]!;
  }
  get asc(): number {
    return this.#isDescriptor ? this.bytes[2]! : this.bytes[12]!;
  }
  get ascq(): number {
    return this.#isDescriptor ? this.bytes[3]! : this.bytes[13]!;
  }

  /** Begin sense data for `code`, in the descriptor format or the fixed one. */
  set(sense: SenseCode, descriptor: boolean): void {
    const bytes = this.bytes;
    bytes.fill(0);
    if (descriptor) {
      bytes[0] = RESPONSE_CODE_DESCRIPTOR;
      bytes[1] = sense.key;
      bytes[2] = sense.asc;
      bytes[3] = sense.ascq;
      this.length = DESCRIPTOR_HEADER_LENGTH;
    } else {
      bytes[0] = RESPONSE_CODE_FIXED;
      bytes[2] = sense.key;
      bytes[7] = FIXED_SENSE_LENGTH - 8;
      bytes[12] = sense.asc;
      bytes[13] = sense.ascq;
      this.length = FIXED_SENSE_LENGTH;
    }
    if (sense.information !== undefined) this.setInformation(sense.information);
  }

  /** The INFORMATION field: a logical block address or an offset, below 2^53. The fixed format drops what exceeds 32 bits. */
  setInformation(information: number): void {
    if (this.#isDescriptor) {
      const at = this.#addDescriptor(0x00, INFORMATION_DESCRIPTOR_LENGTH);
      this.bytes[at + 2] = VALID;
      putU64(this.bytes, at + 4, information);
    } else if (information <= 0xffff_ffff) {
      this.bytes[0] = RESPONSE_CODE_FIXED | VALID;
      putU32(this.bytes, 3, information);
    }
  }

  /** Field pointer: which byte, and which bit if not negative, of the CDB or else of the parameter list is wrong. */
  setFieldPointer(inCdb: boolean, byteOffset: number, bit: number): void {
    let at = 15;
    if (this.#isDescriptor) at = this.#addDescriptor(0x02, KEY_SPECIFIC_DESCRIPTOR_LENGTH) + 4;
    this.bytes[at] = SKSV | (inCdb ? COMMAND_DATA : 0) | (bit >= 0 ? BPV | bit : 0);
    putU16(this.bytes, at + 1, byteOffset);
  }

  /**
   * COPY ABORTED: the number of the segment descriptor that was being processed as COMMAND-SPECIFIC INFORMATION, and, unless
   * it is negative, a pointer at the byte of the parameter list that is wrong (SPC-4 4.5.2).
   */
  setSegment(segment: number, byteOffset: number): void {
    if (this.#isDescriptor) {
      putU64(this.bytes, this.#addDescriptor(0x01, COMMAND_SPECIFIC_DESCRIPTOR_LENGTH) + 4, segment);
    } else {
      putU32(this.bytes, 8, segment);
    }
    if (byteOffset >= 0) this.setFieldPointer(false, byteOffset, -1);
  }

  /** Become what `other` is. */
  copyFrom(other: SenseData): void {
    other.bytes.copy(this.bytes);
    this.length = other.length;
  }

  /** Progress indication of NOT READY and NO SENSE, in 65536ths (SPC-4 4.5.2.4.4). */
  setProgress(progress: number): void {
    let at = 15;
    if (this.#isDescriptor) at = this.#addDescriptor(0x02, KEY_SPECIFIC_DESCRIPTOR_LENGTH) + 4;
    this.bytes[at] = SKSV;
    putU16(this.bytes, at + 1, progress);
  }

  toString(): string {
    return this.length === 0 ? 'no sense data' : describeSense(this.key, this.asc, this.ascq);
  }

  get #isDescriptor(): boolean {
    return this.bytes[0] === RESPONSE_CODE_DESCRIPTOR;
  }

  /** Append a sense data descriptor (SPC-4 4.5.2.1) and return its offset. */
  #addDescriptor(type: number, length: number): number {
    const at = this.length;
    this.bytes[at] = type;
    this.bytes[at + 1] = length - 2;
    this.length += length;
    this.bytes[7] = this.length - DESCRIPTOR_HEADER_LENGTH;
    return at;
  }
}
