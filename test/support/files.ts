/** Where the repository is, and the files in it. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of the repository's root folder. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** All files below `folder` (a path from the root) whose name ends in `suffix`, as sorted paths from the root with forward slashes. */
export function filesBelow(folder: string, suffix: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) found.push(...filesBelow(path, suffix));
    else if (entry.name.endsWith(suffix)) found.push(path);
  }
  return found.sort();
}
