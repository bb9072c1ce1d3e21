/** How much memory this process may lock: adapters need it to stay where it is (getrlimit(2), capabilities(7)). */

import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';

/** Number of the capability that no limit holds for. */
const CAP_IPC_LOCK = 14n;

/** The soft limit in bytes by the text of `/proc/PID/limits`, Infinity for none; null if it does not say. */
export function lockedMemoryLimit(limits: string): number | null {
  const soft = /^Max locked memory\s+(\S+)/m.exec(limits)?.[1];
  if (soft === 'unlimited') return Infinity;
  return soft === undefined || !/^\d{1,20}$/.test(soft) ? null : Number(soft);
}

/** Whether the limit does not hold, by the text of `/proc/PID/status`. */
export function mayLockAll(status: string): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/im.exec(status)?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_IPC_LOCK) & 1n) === 1n;
}

/** The parts of what may be locked, and of the machine's memory, that {@link lockableBytes} makes use of. */
const SHARE_OF_LIMIT = 0.75;
const SHARE_OF_MEMORY = 0.25;

/** Bytes that this process had better lock at most, for data: the limit leaves something for messages. */
export function lockableBytes(read: (path: string) => string | null = readOrNull): number {
  const most = Math.floor(totalmem() * SHARE_OF_MEMORY);
  const limit = lockedMemoryLimit(read('/proc/self/limits') ?? '');
  if (limit === null || limit === Infinity || mayLockAll(read('/proc/self/status') ?? '')) return most;
  return Math.min(most, Math.floor(limit * SHARE_OF_LIMIT));
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
