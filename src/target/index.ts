/**
 * `riser/target`: serve block devices to iSCSI initiators from a program of your own.
 *
 * @example
 * import { TargetServer } from 'riser/target';
 * import { MemoryDevice } from 'riser/block';
 *
 * const server = new TargetServer();
 * const target = server.addTarget({ name: 'iqn.2026-11.com.example:disk' });
 * target.addLun(0, { device: new MemoryDevice({ size: 1 << 30, blockSize: 512 }) });
 * await server.listen({ address: '127.0.0.1', port: 3260 });
 */

export { Secret } from '../util/secret.js';
export type { AccessRule } from './access.js';
export type { Authentication, Credentials } from './authentication.js';
export type { RecoveryOffer } from '../iscsi/index.js';
export type { FailedLoginLimits } from './failed-logins.js';
export type { Address } from './portal.js';
export type { RedirectOptions } from './redirect.js';
export { ReservationFile } from './reservation-file.js';
export { SanitizeFile } from './sanitize-file.js';
export type { SessionInfo } from './session.js';
export { ACCESS_STATES, type AccessStateName } from '../scsi/index.js';
export {
  type AluaOptions,
  type LunOptions,
  type PortGroupOptions,
  Target,
  type TargetOptions,
  type TargetSecurity,
} from './target.js';
export {
  DEFAULT_LIMITS,
  type TargetLimits,
  TargetServer,
  type TargetServerEvents,
  type TargetServerOptions,
} from './target-server.js';
