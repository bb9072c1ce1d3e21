/** `riser copy`, ended by signals at random moments and resumed until it is done. */

import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

import { readJournal } from '../../src/cli/transfer/journal.js';
import { CliProcess, type CliOptions } from './cli-process.js';

export interface InterruptedCopyOptions extends CliOptions {
  /** Where the copy notes how far it is: `--journal`, or beside the file that is copied to. */
  journal: string;
  /** From 0 up to 1, for the moments and the signals. */
  random: () => number;
  /** Milliseconds that an interrupted run lives once it copies, at least and at most. */
  lifeMs: readonly [least: number, most: number];
  /** Runs that are interrupted, unless they are faster; then it is left alone. */
  interruptions: number;
}

export interface InterruptedRun {
  signal: NodeJS.Signals;
  /** Bytes that were noted as done when it had ended. */
  position: number;
}

/**
 * Run `riser copy` with `args`, with `--resume` from the second time on, until it ends by itself. SIGKILL, after
 * which nobody tidies up, and signals that ask it to stop take turns.
 *
 * What must hold on the way is asserted: how each run ends, that the noted position never goes back, and that the
 * last run went on where the one before it was.
 *
 * @returns the runs that a signal ended
 */
export async function copyInterrupted(
  args: readonly string[],
  { journal, random, lifeMs, interruptions, ...options }: InterruptedCopyOptions,
): Promise<InterruptedRun[]> {
  const runs: InterruptedRun[] = [];
  for (;;) {
    const position = runs.at(-1)?.position ?? 0;
    const signal = runs.length % 2 === 0 ? 'SIGKILL' : random() < 0.5 ? 'SIGINT' : 'SIGTERM';
    const before = await versionOf(journal);
    const resume = runs.length === 0 ? [] : ['--resume'];
    const copy = new CliProcess(['copy', ...args, '--json', ...resume], options);
    if (runs.length < interruptions) {
      // It writes the journal anew before the first byte.
      while (copy.child.exitCode === null && (await versionOf(journal)) === before) await delay(10);
      await delay(lifeMs[0] + random() * (lifeMs[1] - lifeMs[0]));
      copy.child.kill(signal);
    }
    const { exitCode, stdout, stderr } = await copy.ended();
    if (exitCode === 0) {
      const { resumedAt } = JSON.parse(stdout) as { resumedAt: number };
      assert.equal(resumedAt, position, 'it went on where the run before it was');
      return runs;
    }
    assert.equal(exitCode, { SIGKILL: null, SIGINT: 130, SIGTERM: 143 }[signal], stderr);
    const noted = await readJournal(journal);
    assert.ok(noted !== null && noted.position >= position, 'the journal is there, and has not gone back');
    runs.push({ signal, position: noted.position });
  }
}

/** What is another one whenever the file was replaced; null if there is none. */
async function versionOf(path: string): Promise<string | null> {
  const status = await stat(path, { bigint: true }).catch(() => null);
  return status === null ? null : `${status.ino} ${status.mtimeNs}`;
}
