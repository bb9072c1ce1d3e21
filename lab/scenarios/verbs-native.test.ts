/**
 * Riser with libibverbs and librdmacm in the guest, over rdma_rxe and over siw: the Verbs' contract, misuse, threads, connections that come
 * and go. RISER_LAB_ROUNDS is how many of these there are, 10000 take some 10 minutes; the rest takes about 10.
 */

import { scenario } from '../harness/scenario.js';
import { verbsTests } from '../harness/verbs.js';

const ROUNDS = Number(process.env['RISER_LAB_ROUNDS'] ?? '200');
/** Seconds for one program, and how many connections a second there are at least. */
const LIMIT = 420;
const LEAST_RATE = 5;

scenario('verbs-native', { limit: 3600 + (2 * ROUNDS) / LEAST_RATE }, (lab) => {
  verbsTests(lab, {
    programs: ['verbs-contract', 'verbs-misuse', 'verbs-threads', 'verbs-leaks'],
    environment: `RISER_ROUNDS=${ROUNDS}`,
    limit: LIMIT + ROUNDS / LEAST_RATE,
  });
});
