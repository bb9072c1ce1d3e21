/**
 * Preloaded into a server (`node --import`): counts the bytes that its JavaScript heap allocates
 * between the messages `start` and `stop` of its parent, and answers `stop` with an {@link Allocations}.
 *
 * V8 keeps no running total, but tells the used size before and after each garbage collection:
 * what was allocated is the growth from after one collection to before the next, summed up.
 */

import { GCProfiler, getHeapStatistics } from 'node:v8';

/** What was allocated between `start` and `stop`, in bytes. */
export interface Allocations {
  /** On the heap: objects, closures, promises, typed array views. */
  heap: number;
  /**
   * Outside of it, mostly the memory of buffers. A lower bound: what is freed between two
   * collections, other than by a collection, cancels out.
   */
  external: number;
  collections: number;
}

interface HeapSize {
  usedHeapSize: number;
  externalMemory: number;
}

let profiler: GCProfiler | null = null;
let atStart: HeapSize = currentSize();

process.on('message', (message) => {
  if (message === 'start') {
    profiler = new GCProfiler();
    profiler.start();
    atStart = currentSize();
  } else if (message === 'stop' && profiler !== null) {
    const atStop = currentSize();
    const { statistics } = profiler.stop();
    const befores = [...statistics.map((gc) => gc.beforeGC.heapStatistics), atStop];
    const afters = [atStart, ...statistics.map((gc) => gc.afterGC.heapStatistics)];
    const allocations: Allocations = { heap: 0, external: 0, collections: statistics.length };
    befores.forEach((before, i) => {
      allocations.heap += before.usedHeapSize - afters[i]!.usedHeapSize;
      allocations.external += Math.max(0, before.externalMemory - afters[i]!.externalMemory);
    });
    process.send!(allocations);
  }
});
// The channel to the parent must not keep the server alive.
process.channel?.unref();

function currentSize(): HeapSize {
  const now = getHeapStatistics();
  return { usedHeapSize: now.used_heap_size, externalMemory: now.external_memory };
}
