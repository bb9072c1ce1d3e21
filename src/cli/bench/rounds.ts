/**
 * The runs of a comparison. They alternate, A B A B ..., so that what changes on the machine meanwhile meets all subjects
 * alike; and before the first round all of them are loaded once without counting, so that none finds the program cold.
 */

import type { BlockDevice } from '../../block/index.js';
import { bytesCopied } from '../../util/memory.js';
import { Load } from './load.js';
import type { LoadPlan } from './plan.js';
import { type TargetProcesses, targetSeconds } from './process-time.js';
import { allLatenciesOf, type Latencies, type Results, resultsOf } from './results.js';

/** What is compared. */
export interface Subject {
  readonly devices: readonly BlockDevice[];
  /** The processes at the other end; asked before each run, for a target may be started anew. */
  readonly findTarget: () => Promise<TargetProcesses>;
}

export interface RoundsPlan {
  readonly load: LoadPlan;
  readonly rounds: number;
  /** How long a run counts. */
  readonly seconds: number;
  /** How long the load is on before, each time. */
  readonly rampSeconds: number;
}

/** One run on one subject. */
export interface Run extends Results {
  /** Counted from 1. */
  readonly round: number;
  /** Whether it had all of its time. */
  readonly isWhole: boolean;
  /** Of reads and writes together; null when there was none. */
  readonly latencyUs: Latencies | null;
  /** CPU time per I/O in microseconds; null where it is not known. */
  readonly cpuUs: { readonly initiator: number | null; readonly target: number | null };
  /** Bytes per I/O that this process has copied from memory to memory; null when there was none. */
  readonly copiedBytes: number | null;
  readonly target: TargetProcesses;
}

/** Is told of each run that counts; `subject` is an index. */
export interface RunWatcher {
  begin(subject: number, round: number, load: Load): Promise<void>;
  /** `run` is null when it failed, or was stopped before it counted anything. */
  end(subject: number, run: Run | null): void;
  /** What the device says is thrown afterwards. */
  failed(subject: number): void;
}

export class Rounds {
  readonly subjects: readonly Subject[];
  readonly plan: RoundsPlan;
  readonly #runs: Run[][];
  #isStopped = false;
  #current: Load | null = null;

  constructor(subjects: readonly Subject[], plan: RoundsPlan) {
    this.subjects = subjects;
    this.plan = plan;
    this.#runs = subjects.map(() => []);
  }

  /** Of one subject: whole ones, or if there is none yet, the one that was stopped. */
  runsOf(subject: number): readonly Run[] {
    const runs = this.#runs[subject]!;
    const whole = runs.filter(({ isWhole }) => isWhole);
    return whole.length > 0 ? whole : runs;
  }

  /** Resolves after the last round, or when it is stopped; rejects with the first failure of a device. */
  async run(watcher: RunWatcher): Promise<void> {
    // Round 0 only warms up.
    for (let round = 0; round <= this.plan.rounds; round++) {
      for (const index of this.subjects.keys()) {
        try {
          await this.#warmUp(index);
          if (round > 0) await this.#measure(index, round, watcher);
        } catch (error) {
          watcher.failed(index);
          throw error;
        }
      }
    }
  }

  /** End it before its time. */
  stop(): void {
    this.#isStopped = true;
    this.#current?.stop();
  }

  /** Apart from what counts, so that its CPU time is not counted either. */
  async #warmUp(index: number): Promise<void> {
    if (this.plan.rampSeconds > 0) await this.#finish(this.#loadOn(index, this.plan.rampSeconds));
  }

  async #measure(index: number, round: number, watcher: RunWatcher): Promise<void> {
    if (this.#hasStopped()) return;
    const load = this.#loadOn(index, this.plan.seconds);
    const target = await this.subjects[index]!.findTarget();
    await watcher.begin(index, round, load);
    let run: Run | null = null;
    try {
      const times = startTimes(target);
      const copiedBefore = bytesCopied();
      await this.#finish(load);
      const copied = bytesCopied() - copiedBefore;
      const cpuUs = times.perIo(load.count);
      const results = resultsOf(load);
      if (this.#hasStopped() && results.count === 0) return;
      run = {
        round,
        isWhole: !this.#hasStopped(),
        ...results,
        latencyUs: allLatenciesOf(load),
        cpuUs,
        copiedBytes: load.count === 0 ? null : copied / load.count,
        target,
      };
      this.#runs[index]!.push(run);
    } finally {
      watcher.end(index, run);
    }
  }

  /** It can change while anything is waited for. */
  #hasStopped(): boolean {
    return this.#isStopped;
  }

  #loadOn(index: number, seconds: number): Load {
    return new Load({ ...this.plan.load, devices: this.subjects[index]!.devices, rampSeconds: 0, seconds });
  }

  async #finish(load: Load): Promise<void> {
    if (this.#hasStopped()) return;
    const finished = load.run();
    // It can be stopped when it runs, and not before.
    this.#current = load;
    await finished;
    this.#current = null;
  }
}

/** The CPU time of both ends from now on. */
function startTimes(target: TargetProcesses) {
  const cpuBefore = process.cpuUsage();
  const targetBefore = targetSeconds(target);
  return {
    perIo: (count: number): Run['cpuUs'] => {
      const { user, system } = process.cpuUsage(cpuBefore);
      const targetAfter = targetSeconds(target);
      if (count === 0) return { initiator: null, target: null };
      const isKnown = targetBefore !== null && targetAfter !== null;
      return {
        initiator: (user + system) / count,
        target: isKnown ? ((targetAfter - targetBefore) * 1e6) / count : null,
      };
    },
  };
}
