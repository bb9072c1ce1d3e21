/** Debian's tgtd as an ordinary user, on a port and a control socket of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { accepts } from './accepts.js';
import { freePort } from './free-port.js';
import { peer } from './peers.js';
import { runToSuccess } from './run-program.js';

const tgtd = peer('tgtd', 'tgt');
const tgtadm = peer('tgtadm', 'tgt');
const READY_MS = 30_000;

/** The value for a test's `skip` option. */
export const skipTgtd = tgtd.skip === false ? tgtadm.skip : tgtd.skip;

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Tgtd {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #socket: string;

  private constructor(port: number, child: ChildProcess, socket: string) {
    this.port = port;
    this.#child = child;
    this.#socket = socket;
  }

  /** `folder`: for its control socket. It has no target yet. */
  static async start(folder: string): Promise<Tgtd> {
    const port = await freePort();
    const socket = join(folder, `tgtd-${port}`);
    const child = spawn(tgtd.path, ['--foreground', '-C', '0', '--iscsi', `portal=127.0.0.1:${port}`], {
      stdio: 'ignore',
      env: { ...process.env, TGT_IPC_SOCKET: socket },
    });
    running.add(child);
    child.once('exit', () => running.delete(child));
    const server = new Tgtd(port, child, socket);
    await server.#listening();
    return server;
  }

  /** Serve the image files as LUN 1, 2, ... of a target; LUN 0 is tgtd's controller. */
  async addTarget(id: number, name: string, images: readonly string[]): Promise<void> {
    const tid = ['--tid', `${id}`];
    await this.#admin('--op', 'new', '--mode', 'target', ...tid, '-T', name);
    for (const [i, image] of images.entries())
      await this.#admin('--op', 'new', '--mode', 'logicalunit', ...tid, '--lun', `${i + 1}`, '-b', image);
    await this.#admin('--op', 'bind', '--mode', 'target', ...tid, '-I', 'ALL');
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    // SIGTERM it ignores while it has targets.
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #admin(...args: string[]): Promise<void> {
    const command = [tgtadm.path, '-C', '0', '--lld', 'iscsi', ...args];
    await runToSuccess('/usr/bin/env', [`TGT_IPC_SOCKET=${this.#socket}`, ...command]);
  }

  async #listening(): Promise<void> {
    const deadline = performance.now() + READY_MS;
    while (!(await accepts({ port: this.port, host: '127.0.0.1' }))) {
      if (this.#child.exitCode !== null) throw new Error(`tgtd ended with ${this.#child.exitCode}`);
      if (performance.now() > deadline) throw new Error('tgtd does not listen');
      await delay(50);
    }
  }
}
