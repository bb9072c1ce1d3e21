/** Signals that ask a command to stop in order. */

import { ExitCode } from './failure.js';
import { note } from './output.js';

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** From when it is made until `dispose`, the first signal is told; a second one ends the process at once. */
export class Interruption {
  /** The signal that came, and its exit code. */
  came: { name: NodeJS.Signals; exitCode: number } | null = null;
  readonly #stop: () => void;
  readonly #onSignal = (name: NodeJS.Signals, number: number): void => {
    const exitCode = ExitCode.SIGNAL + number;
    if (this.came !== null) process.exit(exitCode);
    this.came = { name, exitCode };
    note(`${name}: stopping; once more to stop without waiting`);
    this.#stop();
  };

  /** `stop` is called when a signal comes. */
  constructor(stop: () => void) {
    this.#stop = stop;
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  dispose(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }
}
