/** The command table of CD and DVD drives (MMC-6, the read side): what they share with disks, and what is their own. */

import type { Operation } from '../operation.js';
import { discInformationOperations } from './disc-information.js';
import { driveFeatureOperations } from './drive-features.js';
import { driveStatusOperations } from './drive-status.js';
import { inquiryOperations } from './inquiry.js';
import { modeOperations } from './mode.js';
import { readCdOperations } from './read-cd.js';
import { readWriteOperations } from './read-write.js';
import { reportOperations } from './report.js';
import { unitOperations } from './unit.js';

const READ_10 = 0x28;
const READ_12 = 0xa8;

export const multimediaOperations: readonly Operation[] = [
  ...discInformationOperations,
  ...driveFeatureOperations,
  ...driveStatusOperations,
  ...inquiryOperations,
  ...modeOperations,
  ...readCdOperations,
  ...readWriteOperations.filter(({ opcode }) => opcode === READ_10 || opcode === READ_12),
  ...reportOperations,
  ...unitOperations,
];
