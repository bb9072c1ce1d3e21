/**
 * `riser/initiator`: use LUNs of any iSCSI target from a program of your own.
 *
 * @example
 * import { connect } from 'riser/initiator';
 *
 * const lun = await connect('iscsi://192.0.2.7/iqn.2026-11.com.example:disk/0');
 * await lun.write(0, Buffer.alloc(lun.blockSize));
 * await lun.flush();
 * await lun.close();
 */

export { CommandFailed, type CommandOptions, type CommandResult, sendCommand } from './command.js';
export {
  connect,
  type ConnectOptions,
  defaultInitiatorName,
  openLun,
  type OpenLunOptions,
  sessionOptions,
} from './connect.js';
export { LunDevice } from './device.js';
export { discover, type DiscoveredTarget, discoverBy, type TargetPortal, targetsOf } from './discovery.js';
export { type Abortable, Lun, type StreamOptions, type WriteOptions } from './lun.js';
export { Session, type SessionWatcher } from './session.js';
export { DEFAULT_SESSION_LIMITS, type SessionLimits, type SessionOptions } from './session-options.js';
export { Multipath, MultipathPolicy } from './multipath.js';
export {
  type AsynchronousEvent,
  queryAsynchronousEvent,
  queryTask,
  queryTaskSet,
  resetNexus,
} from './task-management.js';
export { withSession } from './with-session.js';
export type { TaskPath } from './task.js';
export { ClientTask } from './task.js';
export type { UnitDescription, UnitTraits } from './traits.js';
export {
  ISCSI_PORT,
  type IscsiUrl,
  isIscsiUrl,
  parseIscsiUrl,
  type PortalAddress,
  schemeOf,
  type Transport,
} from './url.js';
