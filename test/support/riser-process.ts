/** `riser serve` as a process, to be killed. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { ROOT } from './files.js';
import { freePort } from './free-port.js';
import { Initiator } from './initiator.js';

const READY_TIMEOUT_MS = 30_000;
export const SERVED_NAME = 'iqn.2026-01.example.test:served';

/** What must not outlive a test that fails. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class RiserProcess {
  readonly port: number;
  readonly #process: ChildProcess;
  /** What it printed so far. */
  output = '';

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#process = child;
    const collect = (chunk: Buffer): void => {
      this.output += chunk.toString();
    };
    child.stdout!.on('data', collect);
    child.stderr!.on('data', collect);
  }

  /**
   * Serve `image` as LUN 0 of {@link SERVED_NAME} from the sources.
   *
   * @param wrapper a command that runs another one, such as strace with its options
   */
  static async start(image: string, wrapper: readonly string[] = []): Promise<RiserProcess> {
    const port = await freePort();
    const riser = [process.execPath, '--import', 'tsx', 'src/cli/main.ts', 'serve', image];
    const options = ['--portal', `127.0.0.1:${port}`, '--name', SERVED_NAME];
    const [program, ...args] = [...wrapper, ...riser, ...options];
    const child = spawn(program!, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    child.once('exit', () => running.delete(child));
    const served = new RiserProcess(port, child);
    try {
      await served.#listening();
    } catch (error) {
      await served.kill();
      throw error;
    }
    return served;
  }

  login(): Promise<Initiator> {
    return Initiator.login({ port: this.port, targetName: SERVED_NAME });
  }

  /** End it as a loss of power would: without a chance to do anything. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** End it the regular way. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#hasEnded) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    await ended;
  }

  async #listening(): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (!(await accepts(this.port))) {
      if (this.#hasEnded) throw new Error(`riser ended before it listened:\n${this.output}`);
      if (Date.now() > deadline) throw new Error(`riser does not listen:\n${this.output}`);
      await delay(50);
    }
  }

  get #hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
