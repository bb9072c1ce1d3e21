/** What a case does to a logical unit, as plain JSON. */

/** How the unit is made. */
export interface UnitSetup {
  type: 'disk' | 'cdrom';
  /** `memory` lends its own, `slow` does not. */
  device: 'memory' | 'slow';
  blockSize: 512 | 2048 | 4096;
  provisioning: 'thin' | 'full';
  removable: boolean;
  readOnly: boolean;
  /** Reservations and the sanitize operation can outlive the loss of power. */
  keeps: boolean;
  /** There are target port groups. */
  isAsymmetric: boolean;
}

/** Data-Out: bytes as hexadecimal digits, or `length` bytes of a pattern. */
export type DataOut = string | { pattern: number; length: number };

export interface CommandStep {
  kind: 'command';
  /** Hexadecimal digits. */
  cdb: string;
  dataOut: DataOut;
  /** Bytes of Data-In that are expected. */
  dataInLimit: number;
  nexus: number;
  attribute: number;
  /** Data-Out comes with a later step. */
  holdsData: boolean;
}

/** Copies and what else works in the background have some turns. */
export interface TurnStep {
  kind: 'turn';
  turns: number;
}

/** The device does some of what waits, each operation with this `BlockStatus`. */
export interface DeviceStep {
  kind: 'device';
  operations: number;
  status: number;
}

/** From now on the device of this case answers at once, or when a step says so. */
export interface DeferStep {
  kind: 'defer';
  defers: boolean;
}

/** Data-Out that was held back comes, or never will. */
export interface DeliverStep {
  kind: 'deliver';
  fails: boolean;
}

export const MANAGEMENT = [
  'abortTask',
  'abortTaskSet',
  'clearTaskSet',
  'logicalUnitReset',
  'leaveAndReturn',
] as const;

export interface ManagementStep {
  kind: 'manage';
  function: (typeof MANAGEMENT)[number];
  nexus: number;
}

export type UnitStep = CommandStep | TurnStep | DeviceStep | DeferStep | DeliverStep | ManagementStep;
