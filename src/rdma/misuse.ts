/** What every provider refuses with `RDMA_MISUSE`, whatever its device. */

import { RiserError } from '../util/errors.js';
import { isAtomic, SendFlag, SendOpcode, type SendRequest, type SgeList } from './work.js';

/** The caller broke the contract; nothing has changed. */
export function misuse(what: string): RiserError {
  return new RiserError('RDMA_MISUSE', what, { by: 'local', costs: 'task' });
}

/** @throws RiserError `RDMA_MISUSE` */
export function checkSize(what: string, asked: number, most: number): void {
  if (!Number.isInteger(asked) || asked < 1 || asked > most)
    throw misuse(`${what} for ${asked}: from 1 to ${most} is possible`);
}

/** @throws RiserError `RDMA_MISUSE` */
export function checkParts({ count }: SgeList, most: number): void {
  if (count > most) throw misuse(`a request of ${count} parts on a queue pair made for ${most}`);
}

/** A send request, for a queue pair that was made for so many parts, and bytes inline. @throws RiserError `RDMA_MISUSE` */
export function checkSend(
  { opcode, flags, sges, operand, compare }: SendRequest,
  maxSges: number,
  maxInlineData: number,
): void {
  checkParts(sges, maxSges);
  if ((flags & SendFlag.INLINE) !== 0 && (sges.length > maxInlineData || !isInlineable(opcode)))
    throw misuse(`${sges.length} bytes inline: ${maxInlineData} of a Send or a Write are possible`);
  if (isAtomic(opcode) && !(hasWord64(operand) && hasWord64(compare)))
    throw misuse('an atomic operation with a number outside 0 to 2^64 - 1');
}

function isInlineable(opcode: SendOpcode): boolean {
  return (
    opcode === SendOpcode.SEND ||
    opcode === SendOpcode.SEND_WITH_INVALIDATE ||
    opcode === SendOpcode.RDMA_WRITE
  );
}

/** Whether 64 bits without sign hold it. */
function hasWord64(value: bigint): boolean {
  return value >= 0n && value <= 0xffff_ffff_ffff_ffffn;
}
