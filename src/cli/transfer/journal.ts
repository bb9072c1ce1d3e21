/**
 * The journal of a copy: how much of the destination is stable. A small JSON file, which is replaced as a whole,
 * so that there is always an old or a new one.
 */

import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RiserError, systemCode } from '../../util/errors.js';
import { syncFolder } from '../../util/sync-folder.js';
import type { DeviceIdentity } from '../open-device.js';

const FORMAT = 'riser-copy-1';
/** A journal is far smaller; what is larger is none. */
const LIMIT = 65536;

export interface Journal {
  source: DeviceIdentity;
  destination: DeviceIdentity;
  /** Bytes: everything below is at the destination, on stable storage. */
  position: number;
}

/**
 * The journal in `path`, or null if there is no such file.
 *
 * @throws RiserError `JOURNAL` when it cannot be read, or is something else
 */
export async function readJournal(path: string): Promise<Journal | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw journalError(`cannot read ${path}`, 'Choose another file: --journal FILE.', error);
  }
  const journal = parse(text);
  if (journal !== null) return journal;
  throw journalError(
    `${path} is no journal of a copy`,
    'Choose another file: --journal FILE; or remove it, and begin anew.',
  );
}

/** Write the journal so that it survives a power failure from then on. Throws RiserError `JOURNAL`. */
export async function writeJournal(path: string, journal: Journal): Promise<void> {
  const temporary = `${path}.new`;
  try {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(`${JSON.stringify({ format: FORMAT, ...journal })}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    throw journalError(`cannot write ${path}`, 'Choose another place: --journal FILE.', error);
  }
}

/** Remove it, if it is there. */
export async function removeJournal(path: string): Promise<void> {
  await rm(path, { force: true });
}

function parse(text: string): Journal | null {
  if (text.length > LIMIT) return null;
  try {
    const value = JSON.parse(text) as Partial<Journal> & { format?: unknown };
    const { format, source, destination, position } = value;
    if (format !== FORMAT || !isIdentity(source) || !isIdentity(destination)) return null;
    return Number.isSafeInteger(position) && position! >= 0 && position! <= source.size
      ? { source, destination, position: position! }
      : null;
  } catch {
    return null;
  }
}

function isIdentity(value: unknown): value is DeviceIdentity {
  if (typeof value !== 'object' || value === null) return false;
  const { name, size, modified } = value as Partial<DeviceIdentity>;
  return (
    typeof name === 'string' &&
    Number.isSafeInteger(size) &&
    (modified === null || typeof modified === 'string')
  );
}

function journalError(message: string, remedy: string, cause?: unknown): RiserError {
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  return new RiserError('JOURNAL', message + why, { by: 'local', costs: 'process', remedy, cause });
}
