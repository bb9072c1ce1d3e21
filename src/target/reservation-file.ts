/**
 * The file that keeps the persistent reservations of one logical unit over restarts and the loss of power: JSON with a checksum,
 * replaced as a whole, so that it holds one state or the next. One that is damaged all the same is reported, never
 * passed over: somebody relies on what was in it.
 */

import { createHash } from 'node:crypto';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

import { z } from 'zod';

import type { ReservationStore, SavedReservations } from '../scsi/index.js';
import { RiserError, systemCode } from '../util/errors.js';
import { syncFolder } from '../util/sync-folder.js';

const FORMAT = 'riser-reservations-1';

const RESERVATIONS = z.strictObject({
  type: z.union([0, 1, 3, 5, 6, 7, 8].map((type) => z.literal(type))),
  registrations: z.array(
    z.strictObject({
      initiatorPort: z.string().min(1),
      relativeTargetPort: z.int().min(1).max(65535).nullable(),
      key: z.string().regex(/^[0-9a-f]{16}$/),
      isHolder: z.boolean(),
    }),
  ),
});
const CONTENT = z.strictObject({ format: z.literal(FORMAT), sha256: z.string(), reservations: RESERVATIONS });

export class ReservationFile implements ReservationStore {
  readonly path: string;
  readonly kept: SavedReservations | null;
  /** The last of what {@link keep} was asked for. */
  #last: Promise<void> = Promise.resolve();

  private constructor(path: string, kept: SavedReservations | null) {
    this.path = path;
    this.kept = kept;
  }

  /**
   * The file at `path`, which need not be there.
   *
   * @throws RiserError `RESERVATIONS_DAMAGED`, `RESERVATIONS_UNREADABLE`
   */
  static async open(path: string): Promise<ReservationFile> {
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (cause) {
      if (systemCode(cause) === 'ENOENT') return new ReservationFile(path, null);
      throw new RiserError('RESERVATIONS_UNREADABLE', `cannot read ${path}: ${(cause as Error).message}`, {
        by: 'local',
        costs: 'process',
        remedy: 'Make it readable: it holds the persistent reservations of the image beside it.',
        cause,
      });
    }
    return new ReservationFile(path, parse(path, text));
  }

  keep(reservations: SavedReservations | null, kept: (cause: Error | null) => void): void {
    this.#last = this.#last
      .then(() => (reservations === null ? this.#remove() : this.#replace(reservations)))
      .then(
        () => kept(null),
        (cause: unknown) => kept(cause as Error),
      );
  }

  /** All that was asked for is done, or has failed. */
  close(): Promise<void> {
    return this.#last;
  }

  async #replace(reservations: SavedReservations): Promise<void> {
    const content = { format: FORMAT, sha256: checksum(reservations), reservations };
    const beside = `${this.path}.new`;
    const handle = await open(beside, 'w', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(content, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(beside, this.path);
    await syncFolder(dirname(this.path));
  }

  async #remove(): Promise<void> {
    try {
      await unlink(this.path);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return;
      throw error;
    }
    await syncFolder(dirname(this.path));
  }
}

function checksum(reservations: SavedReservations): string {
  // Parsed, its members are in one order.
  return createHash('sha256')
    .update(JSON.stringify(RESERVATIONS.parse(reservations)))
    .digest('hex');
}

function parse(path: string, text: string): SavedReservations {
  let why: string;
  try {
    const { sha256, reservations } = CONTENT.parse(JSON.parse(text));
    if (sha256 === checksum(reservations)) return reservations;
    why = 'its checksum does not match';
  } catch (error) {
    why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
  }
  throw new RiserError('RESERVATIONS_DAMAGED', `${path} is damaged: ${why}`, {
    by: 'local',
    costs: 'process',
    remedy:
      'It holds the persistent reservations of the image beside it. Restore it, or delete it if nobody relies on them; initiators then register anew.',
  });
}
