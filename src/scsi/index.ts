/**
 * The SCSI device server: what a disk answers (SPC-4, SBC-3, SAM-5), whatever transport asks.
 *
 * @example
 * const identity = deriveIdentity({ targetName: 'iqn.2026-01.org.example:disk', lun: 0, image: 'disk.img' });
 * const inventory = new LogicalUnitInventory();
 * inventory.add(0, new LogicalUnit(device, { identity }));
 * inventory.addNexus(nexus);
 * inventory.route(decodeLun(header, 8)).submit(task);
 */

export {
  DEFAULT_CONFIGURATION,
  type LogicalUnitConfiguration,
  type LogicalUnitOptions,
} from './configuration.js';
export { deriveIdentity, type Identity, type IdentitySource } from './identity.js';
export {
  decodeLun,
  encodeLun,
  LogicalUnitInventory,
  type LogicalUnitView,
  MappedUnits,
  MAX_LUN,
  type TaskRouter,
} from './inventory.js';
export { LogicalUnit, type LogicalUnitEvents } from './logical-unit.js';
export type { Nexus } from './nexus.js';
export type { Operation, OperationTraits } from './operation.js';
export type { ReservationStore, SavedRegistration, SavedReservations } from './reservation-store.js';
export { CopyManager, type CopyHost } from './third-party-copy/copy-manager.js';
export type { SanitizeStore, SavedSanitize } from './sanitize-store.js';
export { describeSense, MAX_SENSE_LENGTH, Sense, SenseData, SenseKey, type SenseCode } from './sense.js';
export { DISC_BLOCK_SIZE } from './optical-disc.js';
export { Status } from './status.js';
export {
  ACCESS_STATES,
  AccessState,
  type AccessStateName,
  accessStateName,
  AccessStatus,
  type AsymmetricAccessOptions,
  type TargetPortGroup,
  type TargetPortGroupOptions,
  TargetPortGroups,
} from './target-port-groups.js';
export { MAX_CDB_LENGTH, Task, TaskAttribute, TaskState } from './task.js';
export {
  abortTask,
  abortTaskSet,
  clearTaskSet,
  logicalUnitReset,
  nexusReset,
  queryTask,
  queryTaskSet,
  targetReset,
} from './task-management.js';
