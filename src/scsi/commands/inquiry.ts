/** INQUIRY (SPC-4 6.6): what the logical unit is. */

import { getU16 } from '../../util/fields.js';
import type { Operation } from '../operation.js';
import { AccessState } from '../target-port-groups.js';
import { standardInquiry, vitalProductDataPage } from '../vital-product-data.js';

const EVPD = 0x01;

export const inquiryOperations: readonly Operation[] = [
  {
    name: 'INQUIRY',
    opcode: 0x12,
    usage: [0x12, EVPD, 0xff, 0xff, 0xff, 0x00],
    ignoresUnitAttention: true,
    ignoresReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.TRANSITIONING,
    ignoresSanitize: true,
    start(task, unit) {
      const { cdb } = task;
      const pageCode = cdb[2]!;
      const allocationLength = getU16(cdb, 3);
      if ((cdb[1]! & EVPD) === 0) {
        if (pageCode !== 0) unit.failField(task, 2);
        else unit.reply(task, standardInquiry(unit.configuration, task.nexus), allocationLength);
        return;
      }
      const page = vitalProductDataPage(pageCode, unit, task.nexus);
      if (page === null) unit.failField(task, 2);
      else unit.reply(task, page, allocationLength);
    },
  },
];
