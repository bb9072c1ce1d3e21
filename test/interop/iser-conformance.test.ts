/** libiscsi's conformance suite over iSER: the same cases on the same LUNs as over TCP, through a bridge. */

import { libiscsiConformance } from '../support/libiscsi-conformance.js';

/** Families that concern what takes place between the client and the bridge alone. */
const OF_TCP = [
  // DataSN of Data-Out that answers R2Ts: RDMA Reads take the place of both (RFC 7145 7.3.6).
  'iSCSIdatasn',
];

libiscsiConformance('iser', OF_TCP);
