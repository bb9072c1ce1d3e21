/** A running guest, and the shell in it. */

import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { kernelPanic } from './kernel-log.js';
import { type Hardware, Qemu } from './qemu.js';
import { QemuSocket } from './qemu-socket.js';

/** Seconds. A boot takes 8 on 2 cores of their own; the rest is for machines with other things to do. */
const BOOT_LIMIT = 90;
const SHUT_DOWN_LIMIT = 20;
/** Seconds that a script may take unless it says otherwise. */
const SCRIPT_LIMIT = 120;
const POLL_MS = 100;

/** How a script in the guest ended. */
export interface ScriptResult {
  status: number;
  stdout: string;
  stderr: string;
}

export interface ScriptOptions {
  /** Seconds after which the guest is taken to hang; default 120. */
  limit?: number;
}

/** A script that was started and not waited for. */
export interface RunningScript {
  /** Its standard output; rejects as {@link Guest.sh} does. */
  readonly done: Promise<string>;
  /** Whether it has ended, well or not. */
  readonly isOver: boolean;
}

export class Guest {
  readonly #folder: string;
  readonly #sockets: string;
  readonly #qemu: Qemu;
  readonly #startedAt = performance.now();
  #agent!: QemuSocket;
  #monitor!: QemuSocket;
  #scripts = 0;
  #hasEnded = false;

  private constructor(folder: string, hardware: Hardware) {
    this.#folder = folder;
    this.#sockets = mkdtempSync(join(tmpdir(), 'riser-lab-'));
    this.#qemu = new Qemu(folder, this.#sockets, hardware);
    void this.#qemu.exited().then(() => {
      this.#hasEnded = true;
      rmSync(this.#sockets, { recursive: true, force: true });
    });
  }

  /**
   * Boot a guest, and wait until it takes scripts.
   *
   * @param folder is /lab in the guest; `console.log`, `kernel.log` and `transcript.log` are appended to there
   * @throws Error with the end of the console's output when it does not boot; it is gone then
   */
  static async boot(folder: string, hardware: Hardware): Promise<Guest> {
    const guest = new Guest(folder, hardware);
    try {
      await guest.#connect();
      guest.#note(`booted in ${seconds(guest.#startedAt)}`);
      return guest;
    } catch (error) {
      await guest.powerCut();
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`the guest did not boot: ${reason}\n${guest.#qemu.console.slice(-2000)}`, {
        cause: error,
      });
    }
  }

  /**
   * Run a bash script with `set -euo pipefail`; what it prints is in `transcript.log` as well.
   *
   * @returns its standard output without the newline at the end
   * @throws Error with the script, its status and what it printed when it fails, hangs, or the guest dies
   */
  sh(script: string, options?: ScriptOptions): Promise<string> {
    return this.start(script, options).done;
  }

  /** The same, for a script that runs while other things happen. A failure waits for whoever awaits `done`. */
  start(script: string, options?: ScriptOptions): RunningScript {
    const done = this.run(script, options).then(({ status, stdout, stderr }) => {
      if (status === 0) return stdout.trimEnd();
      throw new Error(
        `in the guest:\n${indent(script)}\nended with ${status}:\n${lastLines(stdout + stderr, 40)}`,
      );
    });
    const running = { done, isOver: false };
    const over = (): boolean => (running.isOver = true);
    done.then(over, over);
    return running;
  }

  /** The same, for a script that may fail. */
  async run(script: string, { limit = SCRIPT_LIMIT }: ScriptOptions = {}): Promise<ScriptResult> {
    this.#scripts += 1;
    const name = `script-${String(this.#scripts).padStart(3, '0')}`;
    const startedAt = performance.now();
    this.#note(`${name} starts:\n${indent(script)}`);
    const redirected = `exec >/lab/${name}.out 2>/lab/${name}.err; set -euo pipefail\n${script}`;
    const { pid } = (await this.#ask('guest-exec', { path: '/bin/bash', arg: ['-c', redirected] })) as {
      pid: number;
    };
    for (;;) {
      const state = (await this.#ask('guest-exec-status', { pid })) as {
        exited: boolean;
        exitcode?: number;
        signal?: number;
      };
      if (state.exited) {
        const status = state.exitcode ?? 128 + (state.signal ?? 0);
        const result = { status, ...this.#printed(name) };
        this.#note(
          `${name} ended with ${status} after ${seconds(startedAt)}:\n${indent(result.stdout + result.stderr)}`,
        );
        return result;
      }
      if (performance.now() - startedAt > limit * 1000) throw await this.#hung(script, name, limit);
      await delay(POLL_MS);
    }
  }

  /** Plug a network card's cable in, or pull it out. */
  async setLink(link: 0 | 1, isUp: boolean): Promise<void> {
    this.#note(`eth${link} is ${isUp ? 'plugged in' : 'pulled out'}`);
    await this.#monitor.request('set_link', { name: `card${link}`, up: isUp });
  }

  /** End it at once: what it has not sent is lost. Does nothing when it has ended. */
  async powerCut(): Promise<void> {
    if (this.hasEnded()) return;
    this.#note('the power is cut');
    await this.#qemu.kill();
  }

  /** Power off; cut the power if it takes more than 20 s. Does nothing when the guest has ended. */
  async shutDown(): Promise<void> {
    if (this.hasEnded()) return;
    this.#note('is shut down');
    void this.#agent
      .request('guest-exec', { path: '/bin/sh', arg: ['-c', 'sync; echo o >/proc/sysrq-trigger'] })
      .catch(() => undefined);
    await Promise.race([this.#qemu.exited(), delay(SHUT_DOWN_LIMIT * 1000, undefined, { ref: false })]);
    if (!this.hasEnded()) await this.powerCut();
  }

  hasEnded(): boolean {
    return this.#hasEnded;
  }

  async #connect(): Promise<void> {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(new Error(`not within ${BOOT_LIMIT} s`)), BOOT_LIMIT * 1000);
    const gone = this.#qemu.exited().then(() => {
      throw new Error('QEMU ended');
    });
    gone.catch(() => undefined);
    const late = once(limit.signal, 'abort').then(() => limit.signal.throwIfAborted());
    const connected = async (): Promise<void> => {
      this.#monitor = await QemuSocket.connect(join(this.#sockets, 'monitor'), limit.signal);
      await this.#monitor.request('qmp_capabilities');
      this.#agent = await QemuSocket.connect(join(this.#sockets, 'agent'), limit.signal);
      // The answer comes when the agent has started.
      await this.#agent.request('guest-sync', { id: 1 });
    };
    const connecting = connected().catch(async (error: unknown) => {
      // A QEMU that ends closes its sockets first: that it ended tells more.
      await Promise.race([gone, delay(1000)]);
      throw error;
    });
    connecting.catch(() => undefined);
    try {
      await Promise.race([connecting, gone, late]);
    } finally {
      clearTimeout(timer);
      // Whoever still waits for a socket gives up.
      limit.abort();
    }
  }

  /** Ask the agent; when the guest dies meanwhile, the error says of what. */
  async #ask(command: string, args: Record<string, unknown>): Promise<unknown> {
    try {
      return await this.#agent.request(command, args);
    } catch (error) {
      if (!this.hasEnded()) await Promise.race([this.#qemu.exited(), delay(1000)]);
      if (!this.hasEnded()) throw error;
      const panic = kernelPanic(this.#qemu.console);
      const reason = panic === '' ? `its console ends with\n${lastLines(this.#qemu.console, 20)}` : panic;
      throw new Error(`the guest has ended: ${reason}`, { cause: error });
    }
  }

  async #hung(script: string, name: string, limit: number): Promise<Error> {
    // The kernel tells in its log which tasks are blocked, and where.
    const telling = this.#agent.request('guest-exec', {
      path: '/bin/sh',
      arg: ['-c', 'echo w >/proc/sysrq-trigger'],
    });
    await Promise.race([telling.catch(() => undefined), delay(5000)]);
    await delay(1000);
    const { stdout, stderr } = this.#printed(name);
    const kernel = lastLines(readFileSync(join(this.#folder, 'kernel.log'), 'latin1'), 30);
    return new Error(
      `in the guest:\n${indent(script)}\nhas not ended within ${limit} s; it printed\n` +
        `${lastLines(stdout + stderr, 20)}\nand the kernel\n${kernel}`,
    );
  }

  #printed(name: string): { stdout: string; stderr: string } {
    const read = (suffix: string): string => readFileSync(join(this.#folder, `${name}.${suffix}`), 'utf8');
    return { stdout: read('out'), stderr: read('err') };
  }

  #note(text: string): void {
    appendFileSync(join(this.#folder, 'transcript.log'), `${seconds(this.#startedAt)}  ${text.trimEnd()}\n`);
  }
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

function indent(text: string): string {
  return text.trim().replace(/^/gm, '    ');
}

function lastLines(text: string, count: number): string {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
