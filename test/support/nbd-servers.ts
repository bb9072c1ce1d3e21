/** Other projects' NBD servers, each a process that serves one file on a Unix domain socket. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { accepts } from './accepts.js';

/** A server process. */
export class NbdServerProcess {
  readonly socket: string;
  readonly #path: string;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;
  #stderr = '';

  /** Not started yet: `path` with `args`, which listens on `socket`. */
  constructor(path: string, args: readonly string[], socket: string) {
    this.#path = path;
    this.#args = args;
    this.socket = socket;
  }

  get uri(): string {
    return `nbd+unix:///?socket=${this.socket}`;
  }

  /** What the process may be sent signals by. */
  get child(): ChildProcess {
    return this.#child!;
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    await rm(this.socket, { force: true });
    const child = spawn(this.#path, this.#args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    const deadline = Date.now() + 10_000;
    while (!(await accepts({ path: this.socket }))) {
      if (child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`${this.#path} does not listen: ${this.#stderr}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Resolves when the process is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }
}

/** qemu-nbd, which serves every format that QEMU knows, to eight clients at a time. */
export function qemuNbd(
  path: string,
  {
    file,
    socket,
    format = 'raw',
    readOnly = false,
  }: { file: string; socket: string; format?: string; readOnly?: boolean },
): NbdServerProcess {
  const mode = readOnly ? ['--read-only'] : ['--discard=unmap'];
  const args = ['--persistent', '--shared=8', `--format=${format}`, `--socket=${socket}`, ...mode, file];
  return new NbdServerProcess(path, args, socket);
}

/** nbdkit with its file plugin. */
export function nbdkitFile(
  path: string,
  { file, socket, readOnly = false }: { file: string; socket: string; readOnly?: boolean },
): NbdServerProcess {
  const mode = readOnly ? ['--readonly'] : [];
  return new NbdServerProcess(path, ['--foreground', '--unix', socket, ...mode, 'file', file], socket);
}
