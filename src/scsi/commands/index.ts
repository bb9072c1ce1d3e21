/** The command table: all families of commands together. */

import type { LogicalUnitConfiguration } from '../configuration.js';
import type { Operation } from '../operation.js';
import { cacheOperations } from './cache.js';
import { compareAndWriteOperations } from './compare-and-write.js';
import { inquiryOperations } from './inquiry.js';
import { modeOperations } from './mode.js';
import { multimediaOperations } from './multimedia.js';
import { orwriteOperations } from './orwrite.js';
import { persistentReserveInOperations } from './persistent-reserve-in.js';
import { persistentReserveOutOperations } from './persistent-reserve-out.js';
import { provisioningOperations } from './provisioning.js';
import { readWriteOperations } from './read-write.js';
import { reportOperations } from './report.js';
import { reserveOperations } from './reserve.js';
import { unitOperations } from './unit.js';
import { verifyOperations } from './verify.js';
import { writeSameOperations } from './write-same.js';

const OPERATIONS: readonly Operation[] = [
  ...cacheOperations,
  ...compareAndWriteOperations,
  ...inquiryOperations,
  ...modeOperations,
  ...orwriteOperations,
  ...persistentReserveInOperations,
  ...persistentReserveOutOperations,
  ...provisioningOperations,
  ...readWriteOperations,
  ...reportOperations,
  ...reserveOperations,
  ...unitOperations,
  ...verifyOperations,
  ...writeSameOperations,
];

/** The operations that a logical unit of this configuration has. */
export function operationsFor(configuration: LogicalUnitConfiguration): Operation[] {
  const operations = configuration.type === 'cdrom' ? multimediaOperations : OPERATIONS;
  return operations.filter((operation) => operation.isSupported?.(configuration) ?? true);
}
