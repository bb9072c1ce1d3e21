/** The file that keeps the persistent reservations of one logical unit over restarts and the loss of power. */

import { z } from 'zod';

import type { ReservationStore, SavedReservations } from '../scsi/index.js';
import { CheckedFile, type FileKind, readChecked } from './checked-file.js';

const KIND: FileKind<SavedReservations> = {
  format: 'riser-reservations-1',
  member: 'reservations',
  schema: z.strictObject({
    type: z.union([0, 1, 3, 5, 6, 7, 8].map((type) => z.literal(type))),
    registrations: z.array(
      z.strictObject({
        initiatorPort: z.string().min(1),
        relativeTargetPort: z.int().min(1).max(65535).nullable(),
        key: z.string().regex(/^[0-9a-f]{16}$/),
        isHolder: z.boolean(),
      }),
    ),
  }),
  code: 'RESERVATIONS',
  unreadable: 'Make it readable: it holds the persistent reservations of the image beside it.',
  damaged:
    'It holds the persistent reservations of the image beside it. Restore it, or delete it if nobody relies on them; initiators then register anew.',
};

export class ReservationFile extends CheckedFile<SavedReservations> implements ReservationStore {
  /**
   * The file at `path`, which need not be there.
   *
   * @throws RiserError `RESERVATIONS_DAMAGED`, `RESERVATIONS_UNREADABLE`
   */
  static async open(path: string): Promise<ReservationFile> {
    return new ReservationFile(KIND, path, await readChecked(KIND, path));
  }
}
