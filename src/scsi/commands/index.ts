/** The command table: all families of commands together. */

import type { BlockDevice } from '../../block/device.js';
import type { LogicalUnitConfiguration } from '../configuration.js';
import type { Operation } from '../operation.js';
import { cacheOperations } from './cache.js';
import { compareAndWriteOperations } from './compare-and-write.js';
import { copyResultsOperations } from './copy-results.js';
import { extendedCopyOperations } from './extended-copy.js';
import { inquiryOperations } from './inquiry.js';
import { logOperations } from './log.js';
import { modeOperations } from './mode.js';
import { multimediaOperations } from './multimedia.js';
import { orwriteOperations } from './orwrite.js';
import { persistentReserveInOperations } from './persistent-reserve-in.js';
import { persistentReserveOutOperations } from './persistent-reserve-out.js';
import { provisioningOperations } from './provisioning.js';
import { readDefectDataOperations } from './read-defect-data.js';
import { readWriteOperations } from './read-write.js';
import { referralOperations } from './referrals.js';
import { reportOperations } from './report.js';
import { reserveOperations } from './reserve.js';
import { rodTokenOperations } from './rod-tokens.js';
import { targetPortGroupOperations } from './target-port-groups.js';
import { sanitizeOperations } from './sanitize.js';
import { unitOperations } from './unit.js';
import { verifyOperations } from './verify.js';
import { writeAtomicOperations } from './write-atomic.js';
import { writeSameOperations } from './write-same.js';

const OPERATIONS: readonly Operation[] = [
  ...cacheOperations,
  ...compareAndWriteOperations,
  ...copyResultsOperations,
  ...extendedCopyOperations,
  ...inquiryOperations,
  ...logOperations,
  ...modeOperations,
  ...orwriteOperations,
  ...persistentReserveInOperations,
  ...persistentReserveOutOperations,
  ...provisioningOperations,
  ...readDefectDataOperations,
  ...readWriteOperations,
  ...referralOperations,
  ...reportOperations,
  ...reserveOperations,
  ...rodTokenOperations,
  ...targetPortGroupOperations,
  ...sanitizeOperations,
  ...unitOperations,
  ...verifyOperations,
  ...writeAtomicOperations,
  ...writeSameOperations,
];

/** The operations that a logical unit of this configuration has on `device`. */
export function operationsFor(configuration: LogicalUnitConfiguration, device: BlockDevice): Operation[] {
  const operations = configuration.type === 'cdrom' ? multimediaOperations : OPERATIONS;
  return operations.filter((operation) => operation.isSupported?.(configuration, device) ?? true);
}
