/** What a process keeps: memory and handles, before and after. */

import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** How much more memory may be in use: what the fuzzer itself has learnt, and how the allocator lays things out. */
const HEAP_SLACK = 32 << 20;
const OUTSIDE_SLACK = 64 << 20;

interface Use {
  heap: number;
  outside: number;
  handles: number;
}

export class Leftovers {
  #before: Use | null = null;
  #after: Use | null = null;

  async begin(): Promise<void> {
    this.#before = await use();
  }

  /** @throws Error when there is more than when it began */
  async end(): Promise<void> {
    const before = this.#before!;
    const after = (this.#after = await use());
    if (after.handles > before.handles) throw new Error(`${after.handles - before.handles} handles are left`);
    if (after.heap > before.heap + HEAP_SLACK)
      throw new Error(`the heap has grown from ${mib(before.heap)} to ${mib(after.heap)}`);
    if (after.outside > before.outside + OUTSIDE_SLACK)
      throw new Error(
        `memory outside of the heap has grown from ${mib(before.outside)} to ${mib(after.outside)}`,
      );
  }

  get row(): Record<string, string> {
    const change = (of: (use: Use) => string): string => `${of(this.#before!)} → ${of(this.#after!)}`;
    return {
      heap: change(({ heap }) => mib(heap)),
      buffers: change(({ outside }) => mib(outside)),
      handles: change(({ handles }) => String(handles)),
    };
  }
}

/** What is in use when everything that is not has been collected. */
async function use(): Promise<Use> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // Finalizers run between turns.
  for (let turn = 0; turn < 3; turn++) {
    await sleep(100);
    collect();
  }
  const { heapUsed, external } = process.memoryUsage();
  const handles = process.getActiveResourcesInfo().filter((name) => name !== 'Timeout').length;
  return { heap: heapUsed, outside: external, handles };
}

const mib = (bytes: number): string => `${(bytes / (1 << 20)).toFixed(1)} MiB`;
