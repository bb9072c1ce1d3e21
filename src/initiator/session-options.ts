/** What a session is to do, and how long things may take. */

import type { InitiatorAuthenticationOptions, InitiatorLimits } from '../iscsi/index.js';
import type { Logger } from '../util/logger.js';
import type { DeviceChoice } from './rdma-devices.js';
import type { PortalAddress, Transport } from './url.js';

export interface SessionLimits extends InitiatorLimits {
  /** How long a connection may take to come about, milliseconds. */
  connectTimeoutMs: number;
  /** How long commands wait for a lost connection to come back before they fail, milliseconds. */
  recoveryTimeoutMs: number;
  /** The longest pause between attempts to connect again, milliseconds; they grow from a tenth of a second. */
  longestPauseMs: number;
}

export const DEFAULT_SESSION_LIMITS: SessionLimits = {
  connectTimeoutMs: 10_000,
  loginTimeoutMs: 15_000,
  keepaliveIntervalMs: 5_000,
  keepaliveTimeoutMs: 5_000,
  answerTimeoutMs: 15_000,
  recoveryTimeoutMs: 120_000,
  longestPauseMs: 5_000,
};

export interface SessionOptions extends DeviceChoice {
  portal: PortalAddress;
  /** TCP by default. */
  transport?: Transport;
  /**
   * With `iser`: log in over TCP, then let RDMA take the connection over (RFC 7145 5.1), instead of beginning with RDMA as
   * everybody else does. Discovery sessions stay on TCP. It is by software iWARP, whatever `device` says.
   */
  streamingMode?: boolean;
  /** Null: a discovery session. */
  targetName: string | null;
  initiatorName: string;
  /** Six bytes; a random one (RFC 7143 11.12.5, type 2) by default. */
  isid?: Buffer;
  authentication?: InitiatorAuthenticationOptions | null;
  /** Ask for CRC32C digests; a target may decline. */
  headerDigest?: boolean;
  dataDigest?: boolean;
  /**
   * What the target is asked to agree on (RFC 7143 7.1.5): 0, the default; 1: what digests find damaged is sent again; 2: commands of a
   * lost connection go on by another one as well.
   */
  errorRecoveryLevel?: 0 | 1 | 2;
  /**
   * Connections over TCP that commands are spread over, 1 by default, at most 64; fewer if the target agrees on fewer. When one is lost
   * the others go on, and it is made anew.
   */
  connections?: number;
  /** iSCSIProtocolLevel (RFC 7144) to ask for: 2 for QUERY TASK and its kin; 1 by default, and where the target does not know it. */
  protocolLevel?: 1 | 2;
  limits?: Partial<SessionLimits>;
  log?: Logger;
  /** Gives up connecting. */
  signal?: AbortSignal | null;
}
