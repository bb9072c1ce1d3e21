/** Child processes of the benchmark: pinned, found ready, and ended by their pid. */

import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { accepts } from '../test/support/accepts.js';

const READY_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 5_000;

/** Start `command` bound to one core; taskset executes it in its own place, so the pid is the command's. */
export function spawnPinned(
  core: number,
  command: readonly string[],
  stdio: StdioOptions,
  environment: NodeJS.ProcessEnv = {},
): ChildProcess {
  const env = { ...process.env, ...environment };
  const child = spawn('taskset', ['-c', String(core), ...command], { stdio, env });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** What must not outlive the benchmark when it is interrupted or fails. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

/** Wait until `port` accepts connections; fails when the process ends first or takes longer than 15 s. */
export async function untilListening(child: ChildProcess, port: number): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!(await accepts({ port, host: '127.0.0.1' }))) {
    if (hasEnded(child)) throw new Error(`${child.spawnargs.join(' ')} ended before it listened`);
    if (Date.now() > deadline)
      throw new Error(`${child.spawnargs.join(' ')} does not listen on port ${port}`);
    await delay(20);
  }
}

/** End a process: SIGTERM, and SIGKILL when that takes longer than 5 s. */
export async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(killer);
}

/** Run a command to its end; fails with its output unless it exits with 0. */
export async function run(command: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const [file, ...args] = command;
  const child = spawn(file!, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  return output(child);
}

/** Everything that a process prints until it ends; fails with it unless the process exits with 0. */
export async function output(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code !== 0) throw new Error(`${child.spawnargs.join(' ')}: ended with ${code ?? signal}\n${text}`);
  return text;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
