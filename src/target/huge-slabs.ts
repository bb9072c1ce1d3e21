/** Memory for the buffer pool on huge pages: an adapter translates fewer addresses, and so does the processor. */

import { allocatePages } from '../rdma/index.js';
import type { Logger } from '../util/logger.js';
import type { SlabSource } from '../util/memory.js';

/** Of x64 and arm64, as the addon asks for them. */
const HUGE_PAGE = 2 << 20;

/** On usual pages from the first on that the system does not have; said once. */
export function hugeSlabs(log: Logger, allocate: typeof allocatePages = allocatePages): SlabSource {
  let hasMore = true;
  return {
    length: HUGE_PAGE,
    allocate: (length) => {
      try {
        if (hasMore) return allocate(length, true).bytes;
      } catch (error) {
        hasMore = false;
        log.warn(`buffers are not on huge pages from now on: ${String(error)}; vm.nr_hugepages has them`);
      }
      return Buffer.from(new ArrayBuffer(length));
    },
  };
}
