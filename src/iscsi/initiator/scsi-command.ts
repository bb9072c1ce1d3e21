/** What leaves for a SCSI command, and how its status comes back into the task (RFC 7143 11.3, 11.4). */

import type { ControlPdu } from '../../datamover/datamover.js';
import { copyMemory, type Memory } from '../../util/memory.js';
import type { OperationalParameters } from '../login/keys.js';
import { CDB_LENGTH, CDB_OFFSET, DataIn, ScsiCommand, ScsiResponse } from '../wire/headers.js';
import { AhsType, CommandFlag, FINAL, Opcode, PRIORITY_SHIFT, ResponseFlag } from '../wire/opcodes.js';
import { type InitiatorTask, SENSE_LIMIT } from './task.js';

/** Decide what goes with the command and behind it unasked (RFC 7143 13.10, 13.11, 13.14). */
export function planData(task: InitiatorTask, parameters: OperationalParameters): void {
  task.immediateLength = 0;
  task.unsolicitedLength = 0;
  if (!task.isWrite) return;
  const { immediateData, initialR2T, firstBurstLength, targetMaxRecvDataSegmentLength } = parameters;
  const burst = Math.min(task.buffer.length, firstBurstLength);
  if (immediateData) task.immediateLength = Math.min(burst, targetMaxRecvDataSegmentLength);
  task.unsolicitedLength = initialR2T ? task.immediateLength : burst;
}

/** The header of a SCSI Command, but for its lengths; its data must be planned. All 48 bytes are written. */
export function writeCommand(
  header: Memory,
  task: InitiatorTask,
  parameters: OperationalParameters,
  expStatSN: number,
): void {
  const { view } = header;
  const priority = parameters.iSCSIProtocolLevel < 2 ? 0 : task.priority;
  const waits = task.unsolicitedLength > task.immediateLength;
  const flags =
    (waits ? 0 : FINAL) |
    (task.isRead ? CommandFlag.READ : 0) |
    (task.isWrite ? CommandFlag.WRITE : 0) |
    task.attribute;
  view.setUint32(0, (Opcode.SCSI_COMMAND << 24) | (flags << 16) | (priority << (8 + PRIORITY_SHIFT)));
  view.setUint32(ScsiCommand.lunHigh.offset, task.lunHigh);
  view.setUint32(ScsiCommand.lunLow.offset, task.lunLow);
  view.setUint32(ScsiCommand.initiatorTaskTag.offset, task.initiatorTaskTag);
  view.setUint32(ScsiCommand.expectedDataTransferLength.offset, task.buffer.length);
  view.setUint32(ScsiCommand.cmdSN.offset, task.cmdSN);
  view.setUint32(ScsiCommand.expStatSN.offset, expStatSN);
  copyMemory(task.cdbMemory, 0, header, CDB_OFFSET, CDB_LENGTH);
}

/** RFC 7143 11.2.2.3: AHSLength counts the reserved byte; the whole is padded to four bytes. */
export function extendedCdb(tail: Uint8Array): Buffer {
  const ahs = Buffer.alloc((4 + tail.length + 3) & ~3);
  ahs.writeUInt16BE(tail.length + 1, 0);
  ahs[2] = AhsType.EXTENDED_CDB;
  ahs.set(tail, 4);
  return ahs;
}

/** The status of a SCSI Response, with sense data if there is any. */
export function takeResponse(task: InitiatorTask, pdu: ControlPdu): void {
  const { header } = pdu;
  task.status = ScsiResponse.status.get(header);
  takeResidual(task, header[1]!, ScsiResponse.residualCount.get(header));
  if (pdu.dataLength >= 2) takeSense(task, pdu);
}

/** The status that the last Data-In carries (RFC 7143 11.7.3). */
export function takeCollapsedStatus(task: InitiatorTask, header: Buffer): void {
  task.status = DataIn.status.get(header);
  takeResidual(task, header[1]!, DataIn.residualCount.get(header));
}

/** RFC 7143 11.4.5. What was not moved was not moved, whatever the target says of it. */
function takeResidual(task: InitiatorTask, flags: number, count: number): void {
  const { length } = task.buffer;
  const missing = length - task.transferred;
  if ((flags & ResponseFlag.UNDERFLOW) !== 0) task.residual = Math.max(missing, Math.min(count, length));
  else if (missing > 0) task.residual = missing;
  else if ((flags & ResponseFlag.OVERFLOW) !== 0) task.residual = -count;
}

/** RFC 7143 11.4.7.2: SenseLength, then the sense data. */
function takeSense(task: InitiatorTask, pdu: ControlPdu): void {
  const data = pdu.data();
  task.senseLength = Math.min(data.readUInt16BE(0), data.length - 2, SENSE_LIMIT);
  data.copy(task.sense, 0, 2, 2 + task.senseLength);
}
