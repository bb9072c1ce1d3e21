/** Starts the `riser` command as a process of its own, the way a user does. */

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { builtProgram } from './build.js';
import { ROOT } from './files.js';

/** One line of the JSON log. */
export interface LogLine {
  level: string;
  msg: string;
  [field: string]: unknown;
}

/** How a process ended, and all that it printed. */
export interface Outcome {
  /** Null when a signal killed it. */
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

export interface CliOptions {
  /** Added to the environment. */
  env?: NodeJS.ProcessEnv;
  /** The script of the command, with options of Node before it; `riser` when absent. */
  program?: readonly string[];
  /** A command that runs another one, in front of all. */
  wrapper?: readonly string[];
  /** What it prints is appended to this file too. */
  logFile?: string;
}

/** What must not outlive a test that fails. */
const running = new Set<ChildProcessWithoutNullStreams>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A running `riser`. */
export class CliProcess {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<Outcome>;
  readonly #waiting = new Set<() => void>();
  #stdout = '';
  #stderr = '';
  #isOver = false;

  /** Run `riser` with `args`. */
  constructor(
    args: readonly string[],
    { env = {}, program = builtProgram(), wrapper = [], logFile }: CliOptions = {},
  ) {
    const [command, ...rest] = [...wrapper, process.execPath, ...program, ...args];
    this.child = spawn(command!, rest, {
      cwd: ROOT,
      env: { ...process.env, ...env },
    });
    running.add(this.child);
    const log = (text: string): void => {
      if (logFile !== undefined) appendFileSync(logFile, text);
    };
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      log(text);
      this.#wake();
    });
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      log(text);
      this.#wake();
    });
    this.#ended = once(this.child, 'close').then(([exitCode]) => {
      running.delete(this.child);
      this.#isOver = true;
      this.#wake();
      return { exitCode: exitCode as number | null, stdout: this.#stdout, stderr: this.#stderr };
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** Standard output up to its first match of `pattern`, and the match. Fails when the process ends before. */
  printed(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#matched(pattern, () => this.#stdout);
  }

  /** The same of standard error. */
  noted(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#matched(pattern, () => this.#stderr);
  }

  async #matched(pattern: RegExp, text: () => string): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(text());
      if (match !== null) return match;
      if (this.#isOver)
        throw new Error(`ended without printing ${String(pattern)}: ${this.#stdout}${this.#stderr}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** The first line of the JSON log with `text` in its message; for processes started with `--json-logs`. */
  async logged(text: string): Promise<LogLine> {
    const escaped = text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const [line] = await this.printed(new RegExp(`^.*"msg":"[^"]*${escaped}.*\\n`, 'm'));
    return JSON.parse(line) as LogLine;
  }

  /** The port of its first portal; for processes started with `--json-logs`. */
  async port(): Promise<number> {
    return (await this.logged('listening on')).port as number;
  }

  /** Resolves when the process has ended. */
  ended(): Promise<Outcome> {
    return this.#ended;
  }

  /** Send a signal, and wait for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Outcome> {
    this.child.kill(signal);
    return this.#ended;
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
