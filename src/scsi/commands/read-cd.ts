/** READ CD (MMC-6): the user data of a CD's blocks, which is all that an image has of them. */

import { getU16 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Profile, profileOf } from '../optical-disc.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';
import { read, readDone } from './read-write.js';

/** EXPECTED SECTOR TYPE. */
const SectorType = { ANY: 0, MODE_1: 2 } as const;
const LARGEST_SECTOR_TYPE = 5;
/** What of a block is transferred: sync, headers, user data, EDC and ECC, error flags. */
const USER_DATA = 0x10;
const ALL_CHANNELS = 0xfe;

export const readCdOperations: readonly Operation[] = [
  {
    name: 'READ CD',
    opcode: 0xbe,
    usage: [0xbe, 0x1e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ALL_CHANNELS, 0x07, 0x00],
    readsMedium: true,
    start: startReadCd,
    deviceDone: readDone,
  },
];

function startReadCd(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const sectorType = (cdb[1]! >>> 2) & 0x07;
  const channels = cdb[9]! & ALL_CHANNELS;
  const blocks = (cdb[6]! << 16) | getU16(cdb, 7);
  if (profileOf(unit) !== Profile.CD_ROM) {
    unit.fail(task, Sense.INCOMPATIBLE_FORMAT);
  } else if (sectorType > LARGEST_SECTOR_TYPE) {
    unit.failField(task, 1, 4);
  } else if (sectorType !== SectorType.ANY && sectorType !== SectorType.MODE_1) {
    unit.fail(task, Sense.ILLEGAL_MODE_FOR_THIS_TRACK);
  } else if (channels !== USER_DATA && channels !== 0) {
    unit.failField(task, 9, 7);
  } else if (cdb[10] !== 0) {
    unit.failField(task, 10, 2); // no sub-channel is kept
  } else {
    // Without any channel nothing is transferred, whatever the length.
    read(task, unit, channels === 0 ? 0 : blocks);
  }
}
