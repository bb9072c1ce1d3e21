/** What a command prints on standard output: text for people, JSON for programs. */

import { printable } from './log.js';

/**
 * Write to standard output.
 *
 * @param signal ends waiting for a reader that does not read
 * @returns whether all of it went to somebody who still reads
 */
export function print(text: string | Uint8Array, signal?: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      resolve(false);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    process.stdout.write(text, (error) => {
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined || error === null) resolve(true);
      else if (isReaderGone(error)) resolve(false);
      else reject(error);
    });
  });
}

export function printJson(value: unknown): Promise<boolean> {
  return print(`${JSON.stringify(value, null, 2)}\n`);
}

/** One line on standard error, for people. */
export function note(text: string): void {
  process.stderr.write(`${printable(text)}\n`);
}

function isReaderGone(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED';
}

/** Rows in columns, with two spaces between them, and control characters made visible. The first row may be a head. */
export function table(rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of clean) {
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  }
  return clean
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
