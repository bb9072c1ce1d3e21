/**
 * A file beside an image that keeps what must outlive restarts and the loss of power: JSON with a checksum, replaced as a
 * whole, so that it holds one state or the next. One that is damaged all the same is reported, never passed over:
 * somebody relies on what was in it.
 */

import { createHash } from 'node:crypto';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

import { z } from 'zod';

import { RiserError, systemCode } from '../util/errors.js';
import { syncFolder } from '../util/sync-folder.js';

/** What is kept in a kind of file, and how it is told when it cannot be read. */
export interface FileKind<T> {
  /** Name and version of the format. */
  readonly format: string;
  /** The member of the file that has it. */
  readonly member: string;
  readonly schema: z.ZodType<T>;
  /** Codes of errors begin with it. */
  readonly code: string;
  /** Remedies when it cannot be read, and when it is damaged. */
  readonly unreadable: string;
  readonly damaged: string;
}

export class CheckedFile<T> {
  readonly path: string;
  /** What was in it when it was opened; null: it was not there. */
  readonly kept: T | null;
  readonly #kind: FileKind<T>;
  /** The last of what {@link keep} was asked for. */
  #last: Promise<void> = Promise.resolve();

  constructor(kind: FileKind<T>, path: string, kept: T | null) {
    this.#kind = kind;
    this.path = path;
    this.kept = kept;
  }

  keep(state: T | null, kept: (cause: Error | null) => void): void {
    this.#last = this.#last
      .then(() => (state === null ? this.#remove() : this.#replace(state)))
      .then(
        () => kept(null),
        (cause: unknown) => kept(cause as Error),
      );
  }

  /** All that was asked for is done, or has failed. */
  close(): Promise<void> {
    return this.#last;
  }

  async #replace(state: T): Promise<void> {
    const { format, member } = this.#kind;
    const content = { format, sha256: checksum(this.#kind, state), [member]: state };
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

/**
 * What the file at `path` holds; null when it is not there.
 *
 * @throws RiserError `…_DAMAGED`, `…_UNREADABLE`
 */
export async function readChecked<T>(kind: FileKind<T>, path: string): Promise<T | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null;
    throw new RiserError(`${kind.code}_UNREADABLE`, `cannot read ${path}: ${(cause as Error).message}`, {
      by: 'local',
      costs: 'process',
      remedy: kind.unreadable,
      cause,
    });
  }
  return parse(kind, path, text);
}

function parse<T>(kind: FileKind<T>, path: string, text: string): T {
  let why: string;
  try {
    const content = z
      .strictObject({ format: z.literal(kind.format), sha256: z.string(), [kind.member]: z.unknown() })
      .parse(JSON.parse(text));
    const state = kind.schema.parse((content as Record<string, unknown>)[kind.member]);
    if (content.sha256 === checksum(kind, state)) return state;
    why = 'its checksum does not match';
  } catch (error) {
    why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
  }
  throw new RiserError(`${kind.code}_DAMAGED`, `${path} is damaged: ${why}`, {
    by: 'local',
    costs: 'process',
    remedy: kind.damaged,
  });
}

function checksum<T>(kind: FileKind<T>, state: T): string {
  // Parsed, its members are in one order.
  return createHash('sha256')
    .update(JSON.stringify(kind.schema.parse(state)))
    .digest('hex');
}
