/** Signals that ask a command to stop in order: one mechanism for all commands of the initiator. */

import { RiserError } from '../util/errors.js';
import { ExitCode } from './failure.js';
import { note } from './output.js';

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** From when it is made until `dispose`, the first signal is told; a second one ends the process at once. */
export class Interruption {
  /** The signal that came, and its exit code. */
  came: { name: NodeJS.Signals; exitCode: number } | null = null;
  readonly #controller = new AbortController();
  readonly #onSignal = (name: NodeJS.Signals, number: number): void => {
    const exitCode = ExitCode.SIGNAL + number;
    if (this.came !== null) process.exit(exitCode);
    this.came = { name, exitCode };
    note(`${name}: stopping; once more to stop without waiting`);
    this.#controller.abort(
      new RiserError('INTERRUPTED', 'interrupted before it was done', { by: 'local', costs: 'process' }),
    );
  };

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  /** Aborted when a signal comes; its reason is a RiserError `INTERRUPTED`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Have `stop` called when a signal comes, or now if one came. */
  whenCame(stop: () => void): void {
    if (this.came !== null) stop();
    else this.signal.addEventListener('abort', stop, { once: true });
  }

  dispose(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }
}

/**
 * Run a command, which takes from `interruption` that it is to stop. One that has nothing to tell of what it reached
 * lets the reason of `interruption.signal` pass, such as what gives up connecting throws.
 *
 * @returns its exit code
 */
export async function interruptible(
  command: (interruption: Interruption) => Promise<number>,
): Promise<number> {
  const interruption = new Interruption();
  try {
    return await command(interruption);
  } catch (error) {
    if (interruption.came === null || error !== interruption.signal.reason) throw error;
    note((error as RiserError).message);
    return interruption.came.exitCode;
  } finally {
    interruption.dispose();
  }
}
