/** Runs a program of another project to its end. */

import { execFile } from 'node:child_process';

/** How a program ended, and what it said. */
export interface ProgramResult {
  /** Exit code, or the signal that ended it. */
  status: number | string;
  stdout: string;
  stderr: string;
}

const MAX_OUTPUT = 64 * 1024 * 1024;

/** Run `path` with `args`; killed after `timeoutMs`. Never rejects: look at `status`. */
export function runProgram(
  path: string,
  args: readonly string[],
  timeoutMs = 120_000,
): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const options = { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: MAX_OUTPUT } as const;
    const child = execFile(path, args, options, (error, stdout, stderr) => {
      resolve({ status: child.signalCode ?? child.exitCode ?? error?.message ?? 'unknown', stdout, stderr });
    });
  });
}

/** The same for a program that must succeed; gives what it wrote to standard output. */
export async function runToSuccess(
  path: string,
  args: readonly string[],
  timeoutMs?: number,
): Promise<string> {
  const { status, stdout, stderr } = await runProgram(path, args, timeoutMs);
  if (status === 0) return stdout;
  throw new Error(`${path} ${args.join(' ')}: ended with ${status}\n${stdout}${stderr}`);
}
