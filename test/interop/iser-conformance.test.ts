/**
 * libiscsi's conformance suite over iSER: the same tests as over TCP, through a bridge. On all LUNs with RISER_ALL_LUNS=1; else
 * not on those that differ from others above the transport only, and take the most time.
 */

import { libiscsiConformance, LUNS } from '../support/libiscsi-conformance.js';

libiscsiConformance('iser', {
  luns: process.env.RISER_ALL_LUNS === '1' ? LUNS : ['thin', 'removable', 'readOnly', 'thin512e'],
  without: [
    // It takes a minute, and what it looks at is behind the transport.
    'Sanitize.Reset',
    // DataSN of Data-Out that answers R2Ts: RDMA Reads take the place of both (RFC 7145 7.3.6).
    'iSCSIdatasn',
  ],
});
