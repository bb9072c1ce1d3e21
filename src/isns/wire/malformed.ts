/** What is thrown for bytes of a peer that are no iSNSP. */

import { RiserError } from '../../util/errors.js';

/** `problem` ends the sentence "the peer's message ...". */
export function malformed(problem: string): RiserError {
  return new RiserError('ISNS_MALFORMED', `the peer's iSNS message ${problem}`, {
    by: 'peer',
    costs: 'connection',
    remedy: 'Look whether an iSNS server listens there; its port is 3205 unless it is told otherwise.',
  });
}
