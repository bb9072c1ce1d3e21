/** What `riser copy` is about to do, and whether it may: everything is checked before anything is written. */

import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { type BlockDevice, createImage } from '../../block/index.js';
import { RiserError, systemCode } from '../../util/errors.js';
import { usageError } from '../failure.js';
import { type DeviceIdentity, isPath, openDevice, type OpenedDevice } from '../open-device.js';
import type { CopyFlags } from './copy.js';
import { type Journal, readJournal } from './journal.js';
import { isHole } from './perform.js';

export interface CopyPlan {
  source: OpenedDevice;
  destination: OpenedDevice;
  /** Path of the journal, or null without one. */
  journal: string | null;
  /** First byte that is not known to be there; 0 unless a copy is resumed. */
  from: number;
  /** The destination reads as zeroes. */
  isBlank: boolean;
}

/** Behind a destination's name: its journal. */
const JOURNAL_SUFFIX = '.riser-copy';

/**
 * Open the destination, or make it.
 *
 * @param from what `source` was opened by
 * @param signal gives up connecting
 * @throws RiserError `USAGE`, `TOO_SMALL`, `EXISTS`, `JOURNAL`, `CHANGED`, `READ_ONLY`; the destination is closed then
 */
export async function planCopy(
  from: string,
  source: OpenedDevice,
  to: string,
  flags: CopyFlags,
  signal: AbortSignal,
): Promise<CopyPlan> {
  const status = isPath(to) ? await statusOf(to) : undefined;
  if (status && isPath(from)) {
    const { dev, ino } = await stat(from);
    if (dev === status.dev && ino === status.ino) throw isSame();
  }
  const isFile = status === null || status?.isFile() === true;
  const journal = flags.journal ?? (isFile ? to + JOURNAL_SUFFIX : null);
  if (flags.resume === true && journal === null)
    throw usageError('to resume this copy its journal must be named: --journal FILE');
  const earlier = journal === null ? null : await readJournal(journal);
  const resumed = flags.resume === true ? earlier : null;
  if (earlier !== null && resumed === null && flags.overwrite !== true) throw interruptedBefore(journal!);
  if (flags.resume === true && earlier === null && status?.isFile() === true) throw noJournal(journal!, to);
  if (resumed !== null) checkUnchanged('source', resumed.source, source.identity);
  if (status === null) {
    if (resumed !== null) throw changed('destination', 'it is gone');
    await createImage(to, source.device.size);
  }
  const destination = await openDevice(to, flags, { readOnly: false, signal });
  try {
    checkDestination(source, destination);
    if (resumed !== null) {
      // It was written to since, by the copy itself.
      checkUnchanged('destination', resumed.destination, { ...destination.identity, modified: null });
      return { source, destination, journal, from: resumed.position, isBlank: false };
    }
    const isBlank = await isHole(destination.device);
    if (!isBlank && status?.isFile() === true && flags.overwrite !== true) throw exists(to);
    return { source, destination, journal, from: 0, isBlank };
  } catch (error) {
    await destination.device.close();
    throw error;
  }
}

/** What a journal says of this copy. */
export function journalOf({ source, destination }: CopyPlan, position: number): Journal {
  return {
    source: source.identity,
    destination: { ...destination.identity, modified: null },
    position,
  };
}

/** Null if there is nothing of that name. */
async function statusOf(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

function checkDestination(source: OpenedDevice, destination: OpenedDevice): void {
  if (source.identity.name === destination.identity.name) throw isSame();
  const from: BlockDevice = source.device;
  const to: BlockDevice = destination.device;
  const options = { by: 'local', costs: 'task' } as const;
  if (to.readOnly)
    throw new RiserError('READ_ONLY', `${to.description} cannot be written to`, { ...options, by: 'device' });
  if (to.size < from.size) {
    throw new RiserError(
      'TOO_SMALL',
      `${to.description} has ${to.size} bytes, and ${from.description} ${from.size}: it does not fit`,
      { ...options, remedy: 'Nothing was written. Choose a larger destination, or make this one larger.' },
    );
  }
  if (from.size % to.blockSize !== 0) {
    throw new RiserError(
      'BLOCK_SIZE',
      `${from.description} has ${from.size} bytes, which is no whole number of ${to.blockSize}-byte blocks`,
      {
        ...options,
        remedy: `Nothing was written. A file is made longer by: truncate --size=%${to.blockSize} FILE`,
      },
    );
  }
}

function checkUnchanged(what: string, then: DeviceIdentity, now: DeviceIdentity): void {
  if (then.name !== now.name) throw changed(what, `it was ${then.name}, and is ${now.name}`);
  if (then.size !== now.size) throw changed(what, `it had ${then.size} bytes, and has ${now.size}`);
  if (then.modified !== now.modified) throw changed(what, 'it was written to since');
}

function isSame(): RiserError {
  return usageError('source and destination are the same');
}

function changed(what: string, how: string): RiserError {
  return new RiserError('CHANGED', `the ${what} is not what it was when the copy was interrupted: ${how}`, {
    by: 'local',
    costs: 'task',
    remedy: 'Copy all of it anew: --overwrite instead of --resume.',
  });
}

function interruptedBefore(journal: string): RiserError {
  return new RiserError('EXISTS', `${journal} is there: a copy was interrupted`, {
    by: 'local',
    costs: 'task',
    remedy: 'Go on with it: --resume; or copy all of it anew: --overwrite.',
  });
}

function noJournal(journal: string, to: string): RiserError {
  return new RiserError('JOURNAL', `there is no ${journal}, which says how much of ${to} is copied`, {
    by: 'local',
    costs: 'task',
    remedy: 'Name the journal: --journal FILE; or copy all of it anew: --overwrite instead of --resume.',
  });
}

function exists(to: string): RiserError {
  return new RiserError('EXISTS', `${to} exists, and has data in it`, {
    by: 'local',
    costs: 'task',
    remedy: 'Choose another name, or say that it may be overwritten: --overwrite.',
  });
}
