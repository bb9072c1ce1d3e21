/** The servers under test, each alone on the server core with one disk. */

import { type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { freePort } from '../test/support/free-port.js';
import { Initiator } from '../test/support/initiator.js';
import type { Medium } from './cases.js';
import type { Images } from './images.js';
import { end, run, spawnPinned, untilListening } from './process.js';

const SERVER_CORE = 0;
const RISER = fileURLToPath(new URL('../dist/cli/riser.cjs', import.meta.url));
const HEAP_PROBE = new URL('./heap-probe.ts', import.meta.url).href;
const FILL_CHUNK = 256 * 1024;

export type ServerName = 'riser' | 'tgt';

/** A running server. */
export interface Server {
  name: ServerName;
  pid: number;
  port: number;
  targetName: string;
  lun: number;
  /** Of the disk, as libiscsi's tools take it. */
  url: string;
  process: ChildProcess;
  stop(): Promise<void>;
}

/** Start `name` with a disk of `medium` that holds what `images` holds. */
export function startServer(name: ServerName, medium: Medium, images: Images): Promise<Server> {
  return name === 'tgt' ? startTgt(medium, images) : startRiser(medium, images);
}

/** tgt has no disk in memory of its own: a file on tmpfs is its memory. */
async function startTgt(medium: Medium, images: Images): Promise<Server> {
  const port = await freePort();
  const targetName = 'iqn.2026-01.example.bench:tgt';
  // tgtd appends the control port to this path, so that it meets no other tgtd on this machine.
  const environment = { TGT_IPC_SOCKET: `${images.directory}/tgt-${port}` };
  const admin = (...args: string[]): Promise<string> =>
    run(['tgtadm', '-C', '0', '--lld', 'iscsi', ...args], environment);
  const command = ['tgtd', '--foreground', '-C', '0', '--iscsi', `portal=127.0.0.1:${port}`];
  const child = spawnPinned(SERVER_CORE, command, 'ignore', environment);
  await untilListening(child, port);
  await admin('--op', 'new', '--mode', 'target', '--tid', '1', '-T', targetName);
  await admin('--op', 'new', '--mode', 'logicalunit', '--tid', '1', '--lun', '1', '-b', images.paths[medium]);
  await admin('--op', 'bind', '--mode', 'target', '--tid', '1', '-I', 'ALL');
  const stop = async (): Promise<void> => {
    await admin('--op', 'unbind', '--mode', 'target', '--tid', '1', '-I', 'ALL');
    await admin('--op', 'delete', '--mode', 'target', '--force', '--tid', '1');
    // Without a target tgtd ends at this request; SIGTERM alone it ignores while sessions linger.
    await run(['tgtadm', '-C', '0', '--op', 'delete', '--mode', 'system'], environment);
    await end(child);
  };
  return describe('tgt', child, port, targetName, 1, stop);
}

/** Riser as a user starts it; with `probe`, under the heap probe, which the parent speaks to over IPC. */
export async function startRiser(medium: Medium, images: Images, probe = false): Promise<Server> {
  const port = await freePort();
  const targetName = 'iqn.2026-01.example.bench:riser';
  const disk = medium === 'memory' ? ['--memory', `${images.size}`] : [images.paths.file];
  const preload = probe ? ['--import', 'tsx', '--import', HEAP_PROBE] : [];
  const options = ['--portal', `127.0.0.1:${port}`, '--name', targetName, '--log-level', 'warn'];
  const command = [process.execPath, ...preload, RISER, 'serve', ...disk, ...options];
  const stdio = ['ignore', 'ignore', 'inherit'] as const;
  const child = spawnPinned(SERVER_CORE, command, probe ? [...stdio, 'ipc'] : [...stdio]);
  await untilListening(child, port);
  const server = describe('riser', child, port, targetName, 0, () => end(child));
  if (medium === 'memory') await fill(server, images.paths.memory);
  return server;
}

function describe(
  name: ServerName,
  child: ChildProcess,
  port: number,
  targetName: string,
  lun: number,
  stop: () => Promise<void>,
): Server {
  const url = `iscsi://127.0.0.1:${port}/${targetName}/${lun}`;
  return { name, pid: child.pid!, port, targetName, lun, url, process: child, stop };
}

/** Write the image at `path` over the disk, so that its memory holds data and no untouched zero pages. */
async function fill(server: Server, path: string): Promise<void> {
  const initiator = await Initiator.login({ port: server.port, targetName: server.targetName });
  const file = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(FILL_CHUNK);
    for (let offset = 0; readSync(file, chunk, 0, chunk.length, offset) > 0; offset += chunk.length) {
      const result = await initiator.write(server.lun, offset / 512, chunk);
      if (result.status !== 0) throw new Error(`could not fill the memory disk: status ${result.status}`);
    }
    await initiator.logout();
  } finally {
    closeSync(file);
    initiator.destroy();
  }
}
