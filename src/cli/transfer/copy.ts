/** `riser copy`: one disk onto another; holes stay holes, and what was interrupted can be resumed. */

import { RiserError } from '../../util/errors.js';
import type { ClientFlags } from '../connection-flags.js';
import { ExitCode, usageError } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { openDevice } from '../open-device.js';
import { note, print, printJson } from '../output.js';
import { formatSize } from '../size.js';
import { Checkpoints } from './checkpoints.js';
import { Comparer } from './comparer.js';
import { Copier } from './copier.js';
import { type CopyPlan, journalOf, planCopy } from './copy-plan.js';
import { removeJournal, writeJournal } from './journal.js';
import { startProgress } from './progress.js';

export interface CopyFlags extends ClientFlags {
  overwrite?: boolean;
  verify?: boolean;
  resume?: boolean;
  /** Path. */
  journal?: string;
  depth: number;
  quiet?: boolean;
}

export async function runCopy(
  from: string,
  to: string,
  flags: CopyFlags,
  interruption: Interruption,
): Promise<number> {
  if (flags.resume === true && flags.overwrite === true)
    throw usageError('--resume goes on with a copy, --overwrite begins one anew: choose');
  const source = await openDevice(from, flags, { readOnly: true, signal: interruption.signal });
  try {
    const plan = await planCopy(from, source, to, flags, interruption.signal);
    try {
      return await new Copy(plan, flags, interruption).run();
    } finally {
      await plan.destination.device.close();
    }
  } finally {
    await source.device.close();
  }
}

/** One copy, from its plan to its exit code. */
class Copy {
  readonly #plan: CopyPlan;
  readonly #flags: CopyFlags;
  readonly #size: number;
  readonly #copier: Copier;
  readonly #interruption: Interruption;
  /** What a signal stops. */
  #pump: { stop(): void };
  readonly #start = performance.now();
  #isVerified = false;

  constructor(plan: CopyPlan, flags: CopyFlags, interruption: Interruption) {
    this.#plan = plan;
    this.#flags = flags;
    const { source, destination, from, isBlank } = plan;
    this.#size = source.device.size;
    const { depth } = flags;
    const job = {
      source: source.device,
      destination: destination.device,
      from,
      to: this.#size,
      depth,
      isBlank,
    };
    this.#copier = new Copier(job);
    this.#pump = this.#copier.pump;
    this.#interruption = interruption;
    interruption.whenCame(() => {
      this.#pump.stop();
    });
  }

  async run(): Promise<number> {
    const { journal, from } = this.#plan;
    this.#announce();
    // Before the first byte is written: from then on the destination is neither old nor new.
    if (journal !== null) await writeJournal(journal, journalOf(this.#plan, from));
    await this.#copy();
    if (this.#isInterrupted()) return await this.#interrupted(this.#copier.pump.position);
    if (this.#flags.verify === true) await this.#verify();
    if (this.#isInterrupted()) return await this.#interrupted(this.#size);
    if (journal !== null) await removeJournal(journal);
    await this.#report(null);
    return ExitCode.SUCCESS;
  }

  #isInterrupted(): boolean {
    return this.#interruption.came !== null;
  }

  get #isQuiet(): boolean {
    return this.#flags.quiet === true;
  }

  #announce(): void {
    const { destination, from, isBlank } = this.#plan;
    const { description, size } = destination.device;
    if (this.#isQuiet) return;
    if (from > 0) note(`going on at ${formatSize(from)} of ${formatSize(this.#size)}`);
    else if (!isBlank) note(`overwriting ${formatSize(this.#size)} of ${description}`);
    if (size > this.#size)
      note(`the last ${formatSize(size - this.#size)} of ${description} stay as they are`);
  }

  async #copy(): Promise<void> {
    const { pump } = this.#copier;
    const { destination, from, journal } = this.#plan;
    const checkpoints = new Checkpoints(destination.device, pump, async (position) => {
      if (journal !== null) await writeJournal(journal, journalOf(this.#plan, position));
    });
    const progress = await startProgress({
      label: 'copying',
      total: this.#size,
      done: () => from + pump.processed,
      quiet: this.#isQuiet,
    });
    if (journal !== null) checkpoints.start();
    try {
      await pump.run();
    } catch (error) {
      throw this.#resumable(error, await checkpoints.stop().catch(() => null));
    } finally {
      progress.stop();
    }
    await checkpoints.stop();
  }

  /** A failure that can be mended without copying everything again. */
  #resumable(error: unknown, position: number | null): unknown {
    if (!(error instanceof RiserError) || this.#plan.journal === null || position === null) return error;
    const { code, message, by, costs, remedy } = error;
    const again = `The first ${formatSize(position)} are there: the same command with --resume goes on.`;
    return new RiserError(code, message, {
      by,
      costs,
      remedy: remedy === undefined ? again : `${remedy}\n${again}`,
      cause: error,
    });
  }

  async #verify(): Promise<void> {
    const { source, destination } = this.#plan;
    const comparer = new Comparer({
      a: source.device,
      b: destination.device,
      from: 0,
      to: this.#size,
      depth: this.#flags.depth,
    });
    this.#pump = comparer.pump;
    const progress = await startProgress({
      label: 'verifying',
      total: this.#size,
      done: () => comparer.pump.processed,
      quiet: this.#isQuiet,
    });
    try {
      await comparer.pump.run();
    } finally {
      progress.stop();
    }
    const { first, bytes } = comparer.differences;
    if (first !== null) {
      throw new RiserError('DIFFERENT', `the copy differs in ${bytes} bytes, the first of them at ${first}`, {
        by: 'device',
        costs: 'task',
        remedy: 'Make sure that nobody writes to the source or the destination, and copy anew: --overwrite.',
      });
    }
    this.#isVerified = !this.#isInterrupted();
  }

  async #interrupted(position: number): Promise<number> {
    const { name, exitCode } = this.#interruption.came!;
    const how =
      this.#plan.journal === null
        ? 'it cannot be resumed, because it has no journal; with --journal FILE it could have been'
        : 'the same command with --resume goes on';
    note(`interrupted at ${formatSize(position)} of ${formatSize(this.#size)}: ${how}`);
    if (this.#flags.json === true) await this.#report(name);
    return exitCode;
  }

  async #report(interruptedBy: string | null): Promise<void> {
    const { source, destination, from } = this.#plan;
    const { data, holes } = this.#copier.counts;
    const seconds = (performance.now() - this.#start) / 1000;
    if (this.#flags.json === true) {
      await printJson({
        source: source.device.description,
        destination: destination.device.description,
        paths: { source: source.paths, destination: destination.paths },
        size: this.#size,
        resumedAt: from,
        data,
        holes,
        seconds,
        verified: this.#isVerified,
        interruptedBy,
      });
    } else {
      const rate = formatSize(Math.round((data + holes) / seconds));
      const verified = this.#isVerified ? ', verified' : '';
      await print(
        `${formatSize(data)} of data and ${formatSize(holes)} of holes copied in ${seconds.toFixed(1)} s (${rate}/s)${verified}\n`,
      );
    }
  }
}
