/** The client side: one run of iscsi-perf. */

import type { Case } from './cases.js';
import { cpuSeconds } from '../src/cli/bench/process-time.js';
import { output, spawnPinned } from './process.js';
import type { Server } from './servers.js';

const CLIENT_CORE = 1;
/** iscsi-perf waits forever for a server that stopped answering. */
const GRACE_MS = 15_000;

/** What one run measured. */
export interface Sample {
  /** I/Os a second, the average over the run. */
  iops: number;
  /** CPU seconds that the server used for a million I/Os. */
  cpuPerMillion: number;
}

/** Put the load of `c` on `server` for `seconds` seconds. */
export async function measure(server: Server, c: Case, seconds: number): Promise<Sample> {
  const before = cpuSeconds(server.pid);
  const command = ['iscsi-perf', '-m', String(c.depth), '-b', String(c.blocks), '-t', String(seconds)];
  if (c.random) command.push('-r');
  const client = spawnPinned(CLIENT_CORE, [...command, server.url], ['ignore', 'pipe', 'pipe']);
  const watchdog = setTimeout(() => client.kill('SIGKILL'), seconds * 1000 + GRACE_MS);
  let text: string;
  try {
    text = await output(client);
  } finally {
    clearTimeout(watchdog);
  }
  const used = cpuSeconds(server.pid) - before;
  const iops = averageIops(text);
  return { iops, cpuPerMillion: (used / (iops * seconds)) * 1e6 };
}

/** The last average that iscsi-perf printed; it rewrites its one line of progress with carriage returns. */
function averageIops(text: string): number {
  const last = [...text.matchAll(/iops average (\d+)/g)].at(-1);
  if (last === undefined || !text.includes('finished.'))
    throw new Error(`iscsi-perf did not finish:\n${text}`);
  return Number(last[1]);
}
