/** What `riser bench` is asked to do, checked before anything is connected. */

import type { BlockDevice } from '../../block/index.js';
import type { LunDevice } from '../../initiator/index.js';
import { RiserError } from '../../util/errors.js';
import type { ClientFlags } from '../connection-flags.js';
import { usageError } from '../failure.js';
import { note } from '../output.js';
import { formatSize } from '../size.js';
import type { LoadOptions } from './load.js';

export interface BenchFlags extends ClientFlags {
  seconds: number;
  rampTime: number;
  /** Bytes. */
  blockSize: number;
  /** In each session. */
  depth: number;
  sessions: number;
  sequential?: boolean;
  write?: boolean;
  readPercent?: number;
  destroyData?: boolean;
  quiet?: boolean;
  /** Of a comparison. */
  rounds?: number;
  /** Where the picture of a comparison goes. */
  svg?: string;
}

/** The load, whatever it is on. */
export type LoadPlan = Omit<LoadOptions, 'devices' | 'rampSeconds' | 'seconds'>;

/** Bytes of all buffers. */
const MEMORY_LIMIT = 2 ** 30;

/** @throws RiserError `USAGE` when it would write and may not, or takes too much memory */
export function planOf(flags: BenchFlags): LoadPlan {
  const { blockSize, depth, sessions } = flags;
  const readPercent = flags.write === true ? 0 : (flags.readPercent ?? 100);
  if (readPercent < 100 && flags.destroyData !== true) {
    throw usageError(
      'writing destroys what is on the LUN',
      'If nothing on it is needed any more, say so: --destroy-data.',
    );
  }
  if (blockSize * depth * sessions > MEMORY_LIMIT)
    throw usageError(
      `that takes more than ${formatSize(MEMORY_LIMIT)} of memory`,
      'Choose a smaller --depth.',
    );
  return {
    blockSize,
    depth,
    isRandom: flags.sequential !== true,
    readPercent,
    // Several paths bring data side by side.
    sharesMemory: flags.multipath === undefined,
  };
}

/** @throws RiserError `USAGE` when `device` has no place for such I/Os, `READ_ONLY` */
export function checkDevice(device: BlockDevice, { blockSize, readPercent }: LoadPlan): void {
  const { description } = device;
  if (blockSize % device.blockSize !== 0)
    throw usageError(
      `--block-size ${blockSize} is no whole number of ${device.blockSize}-byte blocks, which ${description} has`,
    );
  if (blockSize > device.size)
    throw usageError(`--block-size ${blockSize} is more than ${description} has: ${device.size} bytes`);
  if (readPercent < 100 && device.readOnly) {
    throw new RiserError('READ_ONLY', `${description} cannot be written to`, { by: 'device', costs: 'task' });
  }
}

/** Say what is about to be lost. */
export function noteWrites({ description }: LunDevice, { isRandom, readPercent }: LoadPlan): void {
  if (readPercent < 100) note(`writing at ${isRandom ? 'random' : 'every'} place of ${description}`);
}

/** As it stands in JSON. */
export function describePlan({ blockSize, depth, isRandom, readPercent }: LoadPlan) {
  return { blockSize, depth, order: isRandom ? 'random' : 'sequential', readPercent } as const;
}

export type PlanDescription = ReturnType<typeof describePlan>;
