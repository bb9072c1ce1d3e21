/** CDBs of the commands that there are, with fields that are apt to be handled wrongly. */

import {
  ADDITIONAL_CDB_LENGTH,
  ADDITIONAL_CDB_LENGTH_32,
  serviceActionOffset,
  VARIABLE_LENGTH,
} from '../../../src/scsi/cdb.js';
import type { Operation } from '../../../src/scsi/operation.js';
import { below, bytes, chance, odd, oneOf, type Random } from '../engine/pick.js';

/** A CDB for one of `operations`, or now and then for none. */
export function anyCdb(operations: readonly Operation[], random: Random): Buffer {
  if (chance(random, 0.02)) return bytes(random, oneOf(random, [6, 10, 12, 16, 32]));
  const operation = oneOf(random, operations);
  const cdb = Buffer.alloc(operation.usage.length);
  for (let i = 1; i < cdb.length;) {
    const end = endOfField(operation.usage, i);
    if (end > i + 1) fillField(cdb, i, end, random);
    else if (chance(random, 0.4)) cdb[i] = below(random, 256) & operation.usage[i]!;
    i = end;
  }
  // A bit that means nothing has to be noticed.
  if (chance(random, 0.05)) cdb[below(random, cdb.length)]! |= 1 << below(random, 8);
  cdb[0] = operation.opcode;
  const { opcode, serviceAction } = operation;
  if (opcode === VARIABLE_LENGTH) {
    cdb[ADDITIONAL_CDB_LENGTH] = chance(random, 0.98) ? ADDITIONAL_CDB_LENGTH_32 : below(random, 256);
    cdb.writeUInt16BE(serviceAction!, serviceActionOffset(opcode));
  } else if (serviceAction !== undefined) {
    cdb[1] = (cdb[1]! & 0xe0) | serviceAction;
  }
  return cdb;
}

/** Where the bytes end that are used as a whole from `start` on: taken for one number. */
function endOfField(usage: readonly number[], start: number): number {
  let end = start + 1;
  if (usage[start] === 0xff) while (usage[end] === 0xff) end++;
  return end;
}

/** Mostly a small number; sometimes the two or three numbers that it may be. */
function fillField(cdb: Buffer, start: number, end: number, random: Random): void {
  const length = end - start;
  if (length <= 6) {
    cdb.writeUIntBE(odd(random, 8 * length), start, length);
    return;
  }
  // An address of eight bytes, and a count behind it.
  if (chance(random, 0.1)) cdb.fill(oneOf(random, [0xff, 0x7f, 0x80]), start, start + 8);
  else cdb[start + 7] = odd(random, 8);
  const rest = Math.min(4, length - 8);
  if (rest > 0) cdb.writeUIntBE(odd(random, 8 * rest), end - rest, rest);
}
