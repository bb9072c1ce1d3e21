/** Makes names in a folder stable. */

import { open } from 'node:fs/promises';

/** A new name in a folder survives a power failure only once the folder itself is synced. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
