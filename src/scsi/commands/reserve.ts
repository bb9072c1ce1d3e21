/**
 * RESERVE(6) and RELEASE(6) (SPC-2 7.21, 7.16): conflicts for everybody while anybody is registered for persistent
 * reservations (SPC-2 5.5.1). Third-party and extent reservations, long obsolete, are not supported.
 */

import type { Operation } from '../operation.js';

export const reserveOperations: readonly Operation[] = [
  {
    name: 'RESERVE(6)',
    opcode: 0x16,
    usage: [0x16, 0x00, 0x00, 0x00, 0x00, 0x00],
    ignoresPersistentReservation: true,
    ignoresMedium: true,
    start(task, unit) {
      if (unit.reservations.reserve(task.nexus)) unit.good(task);
      else unit.reservationConflict(task);
    },
  },
  {
    name: 'RELEASE(6)',
    opcode: 0x17,
    usage: [0x17, 0x00, 0x00, 0x00, 0x00, 0x00],
    ignoresMedium: true,
    // From a nexus that holds nothing it is no error (SPC-2 7.16.2).
    ignoresReservation: true,
    start(task, unit) {
      if (unit.reservations.release(task.nexus)) unit.good(task);
      else unit.reservationConflict(task);
    },
  },
];
