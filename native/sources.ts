/** The addon's sources, and the hash by which a build tells what it was made from. */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** This folder. */
export const NATIVE = dirname(fileURLToPath(import.meta.url));

/** Of all `.cc` and `.h` files, names and contents. */
export function sourcesHash(): string {
  const hash = createHash('sha256');
  const names = readdirSync(NATIVE).filter((name) => /\.(cc|h)$/.test(name));
  for (const name of names.sort()) hash.update(`\n${name}\n`).update(readFileSync(join(NATIVE, name)));
  return hash.digest('hex').slice(0, 16);
}
