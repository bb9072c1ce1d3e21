/** The command table: all families of commands together. */

import type { LogicalUnitConfiguration } from '../configuration.js';
import type { Operation } from '../operation.js';
import { cacheOperations } from './cache.js';
import { compareAndWriteOperations } from './compare-and-write.js';
import { copyResultsOperations } from './copy-results.js';
import { extendedCopyOperations } from './extended-copy.js';
import { inquiryOperations } from './inquiry.js';
import { modeOperations } from './mode.js';
import { orwriteOperations } from './orwrite.js';
import { persistentReserveInOperations } from './persistent-reserve-in.js';
import { persistentReserveOutOperations } from './persistent-reserve-out.js';
import { provisioningOperations } from './provisioning.js';
import { readWriteOperations } from './read-write.js';
import { reportOperations } from './report.js';
import { reserveOperations } from './reserve.js';
import { rodTokenOperations } from './rod-tokens.js';
import { targetPortGroupOperations } from './target-port-groups.js';
import { unitOperations } from './unit.js';
import { verifyOperations } from './verify.js';
import { writeSameOperations } from './write-same.js';

const OPERATIONS: readonly Operation[] = [
  ...cacheOperations,
  ...compareAndWriteOperations,
  ...copyResultsOperations,
  ...extendedCopyOperations,
  ...inquiryOperations,
  ...modeOperations,
  ...orwriteOperations,
  ...persistentReserveInOperations,
  ...persistentReserveOutOperations,
  ...provisioningOperations,
  ...readWriteOperations,
  ...reportOperations,
  ...reserveOperations,
  ...rodTokenOperations,
  ...targetPortGroupOperations,
  ...unitOperations,
  ...verifyOperations,
  ...writeSameOperations,
];

/** The operations that a logical unit of this configuration has. */
export function operationsFor(configuration: LogicalUnitConfiguration): Operation[] {
  return OPERATIONS.filter((operation) => operation.isSupported?.(configuration) ?? true);
}
