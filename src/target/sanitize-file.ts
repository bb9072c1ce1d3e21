/** The file that keeps the sanitize operation of one logical unit, under way or failed, over restarts and the loss of power. */

import { z } from 'zod';

import type { SanitizeStore, SavedSanitize } from '../scsi/index.js';
import { CheckedFile, type FileKind, readChecked } from './checked-file.js';

const KIND: FileKind<SavedSanitize> = {
  format: 'riser-sanitize-1',
  member: 'sanitize',
  schema: z.strictObject({
    method: z.enum(['overwrite', 'block-erase']),
    pattern: z.string().regex(/^([0-9a-f]{2})*$/),
    passes: z.int().min(1).max(31),
    invert: z.boolean(),
    allowsExit: z.boolean(),
    hasFailed: z.boolean(),
  }),
  code: 'SANITIZE',
  unreadable: 'Make it readable: it says that the image beside it is to be sanitized.',
  damaged:
    'It says that the image beside it is to be sanitized, but not how. Delete it to serve the image as it is, and sanitize it again.',
};

export class SanitizeFile extends CheckedFile<SavedSanitize> implements SanitizeStore {
  /**
   * The file at `path`, which need not be there.
   *
   * @throws RiserError `SANITIZE_DAMAGED`, `SANITIZE_UNREADABLE`
   */
  static async open(path: string): Promise<SanitizeFile> {
    return new SanitizeFile(KIND, path, await readChecked(KIND, path));
  }
}
