/** READ DEFECT DATA of SBC-3: the lists are there, and empty, since no block is ever reassigned. */

import { getU16, getU32 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import type { Task } from '../task.js';

/** REQ_PLIST, REQ_GLIST and DEFECT LIST FORMAT; PLISTV and GLISTV stand in the same place in the answer. */
const LISTS_AND_FORMAT = 0x1f;
const FORMAT = 0x07;
/** The one format that no standard gives a meaning. */
const RESERVED_FORMAT = 7;
const HEADER_10 = 4;
const HEADER_12 = 8;

/** An empty list is the same in every format, so that the one that is asked for is the one that is returned. */
function reply(task: Task, unit: LogicalUnit, field: number, headerLength: number, allocation: number): void {
  const asked = task.cdb[field]! & LISTS_AND_FORMAT;
  if ((asked & FORMAT) === RESERVED_FORMAT) {
    unit.failField(task, field, 2);
    return;
  }
  const header = Buffer.alloc(headerLength);
  header[1] = asked;
  unit.reply(task, header, allocation);
}

export const readDefectDataOperations: readonly Operation[] = [
  {
    name: 'READ DEFECT DATA(10)',
    opcode: 0x37,
    usage: [0x37, 0x00, LISTS_AND_FORMAT, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
    readsMedium: true,
    start: (task, unit) => reply(task, unit, 2, HEADER_10, getU16(task.cdb, 7)),
  },
  {
    name: 'READ DEFECT DATA(12)',
    opcode: 0xb7,
    // ADDRESS DESCRIPTOR INDEX is where in the list to begin: it has no descriptors.
    usage: [0xb7, LISTS_AND_FORMAT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    readsMedium: true,
    start: (task, unit) => reply(task, unit, 1, HEADER_12, getU32(task.cdb, 6)),
  },
];
