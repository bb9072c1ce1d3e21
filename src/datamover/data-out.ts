/** The header of Data-Out, which both Datamovers of the initiator make (RFC 7143 11.7). */

import { DataOut } from '../iscsi/wire/headers.js';
import { FINAL, Opcode } from '../iscsi/wire/opcodes.js';
import { putU32 } from '../util/fields.js';
import type { InitiatorTransfer } from './datamover.js';

/**
 * Write the 48 bytes for `length` bytes of the transfer's buffer from `offset` on.
 *
 * @param targetTransferTag the R2T's, or the reserved tag when nobody asked
 */
export function putDataOut(
  bytes: Uint8Array,
  at: number,
  transfer: InitiatorTransfer,
  offset: number,
  length: number,
  isLast: boolean,
  targetTransferTag: number,
  expStatSN: number,
  dataSN: number,
): void {
  putU32(bytes, at, (Opcode.DATA_OUT << 24) | (isLast ? FINAL << 16 : 0));
  putU32(bytes, at + 4, length);
  putU32(bytes, at + 8, transfer.lunHigh);
  putU32(bytes, at + 12, transfer.lunLow);
  putU32(bytes, at + 16, transfer.initiatorTaskTag);
  putU32(bytes, at + 20, targetTransferTag);
  putU32(bytes, at + 24, 0);
  putU32(bytes, at + DataOut.expStatSN.offset, expStatSN);
  putU32(bytes, at + 32, 0);
  putU32(bytes, at + DataOut.dataSN.offset, dataSN);
  putU32(bytes, at + DataOut.bufferOffset.offset, offset);
  putU32(bytes, at + 44, 0);
}
