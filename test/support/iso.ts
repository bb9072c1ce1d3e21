/** ISO 9660 images for tests, made by xorriso. */

import { peer } from './peers.js';
import { runToSuccess } from './run-program.js';

export const xorriso = peer('xorriso', 'xorriso');

/** An image of the files below `tree`, with Rock Ridge's and Joliet's names; `more` are options of mkisofs. */
export async function makeIso(
  tree: string,
  image: string,
  label: string,
  more: readonly string[] = [],
): Promise<void> {
  const options = ['-quiet', '-R', '-J', '-V', label, ...more];
  await runToSuccess(xorriso.path, ['-as', 'mkisofs', ...options, '-o', image, tree]);
}
