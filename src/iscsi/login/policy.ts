/**
 * What the login machine asks of the layer above: which targets there are, who may use them, which
 * sessions exist, and how an initiator proves who it is. All answers come at once: what takes time
 * (an external directory) is looked up beforehand.
 */

import type { OperationalParameters } from './keys.js';
import type { LoginStatus } from './status.js';

export type SessionType = 'Normal' | 'Discovery';

/** A login that must not succeed, and why. */
export interface LoginRefusal {
  /** Any status but SUCCESS. */
  readonly refusal: LoginStatus;
  /** One line for the log. */
  readonly reason: string;
  /**
   * Only with TARGET_MOVED_*: where to, as `host:port` with IPv6 in brackets and without a portal group
   * tag (RFC 7143 13.8).
   */
  readonly redirect?: string;
}

/** A target as the login needs it. */
export interface TargetIdentity {
  /** Name as configured, normalised. */
  readonly name: string;
  /** Tag of the portal group that this connection came in by, 0-65535 (RFC 7143 13.9). */
  readonly portalGroupTag: number;
  /** Human-readable description, at most 255 bytes of UTF-8, or null. */
  readonly alias: string | null;
  /** What sessions with it may agree on besides; one connection and no recovery below the session by default. */
  readonly recovery?: Partial<RecoveryOffer>;
}

/** What a session's recovery depends on (RFC 7143 7.1.5). */
export interface RecoveryOffer {
  /** 0: by a new session; 1: of damaged PDUs; 2: of connections as well, whose tasks go on by others. */
  readonly errorRecoveryLevel: 0 | 1 | 2;
  /** Connections in a session, 1 to 65535. */
  readonly maxConnections: number;
  /**
   * How long a session that has lost its last connection waits for another one, and tasks at level 2 for a new allegiance, besides
   * DefaultTime2Wait: seconds, 0 to 3600.
   */
  readonly defaultTime2Retain: number;
}

/** Who logs in, to what: known after the first complete request. */
export interface LoginIdentity {
  readonly sessionType: SessionType;
  /** Normalised (RFC 3722), at most 223 bytes. */
  readonly initiatorName: string;
  /** Six bytes; a copy of its own. */
  readonly isid: Buffer;
  /** The ISID as 12 lower-case hexadecimal digits: the key to compare and to log by. */
  readonly isidHex: string;
  /** TSIH of the request: 0 for a new session. */
  readonly tsih: number;
  readonly cid: number;
  /** Null in an unnamed discovery session (RFC 7143 7.4.2.1). */
  readonly target: TargetIdentity | null;
  /** Address of the initiator, as given to the machine. */
  readonly initiatorAddress: string;
}

/** A session that a login with non-zero TSIH refers to. */
export interface ExistingSession {
  /** Its negotiated MaxConnections. */
  readonly maxConnections: number;
  /** CIDs of its connections. */
  readonly connectionIds: readonly number[];
  /** What was agreed on; what is each connection's own is not looked at. */
  readonly parameters: Readonly<OperationalParameters>;
  readonly expCmdSN: number;
  readonly maxCmdSN: number;
}

/** The layer above the login machine. No method may throw. */
export interface LoginPolicy {
  /**
   * The target of this normalised name on this connection's portal, or why there is none for this initiator
   * (NOT_FOUND, moved, removed ...). That one exists which it may not use is not for it to know.
   */
  findTarget(name: string, initiatorName: string): TargetIdentity | LoginRefusal;
  /** Whether this initiator may use this target, or discovery if `identity.target` is null; null if it may. */
  admit(identity: LoginIdentity): LoginRefusal | null;
  /**
   * The session of `identity`'s initiator, ISID and target that has `identity.tsih` (never 0 here); null
   * if there is none.
   */
  findSession(identity: LoginIdentity): ExistingSession | null;
  /**
   * Called once, when everything else is agreed and just before the final Login Response is made: gives
   * the session's TSIH, 1-65535, which is a new one where `identity.tsih` is 0; `user` is who the initiator has proved to be. A session of the same initiator, ISID, target and portal group is reinstated by this
   * one (RFC 7143 6.3.5); the caller may end the old one here or upon {@link LoginResult}.
   */
  openSession(identity: LoginIdentity, user: string | null): { readonly tsih: number } | LoginRefusal;
}

/** One step of an authentication exchange. */
export type AuthenticationStep =
  /**
   * Keys to send; more is expected. `isLast`: of the peer only. An initiator says with them that it is ready to leave
   * the stage (T = 1, RFC 7143 Appendix B; tgt takes no request after them), which it may not do before a
   * step with the answer is `done`, even if the target agrees at once.
   */
  | {
      readonly state: 'continue';
      readonly keys: readonly (readonly [string, string])[];
      readonly isLast?: true;
    }
  /** Authenticated; the last keys to send. `user`: who the peer has proved to be, where it had to. */
  | { readonly state: 'done'; readonly keys: readonly (readonly [string, string])[]; readonly user?: string }
  /**
   * Refused; `reason` is one line for the log and holds no secret. `status`: what a target answers,
   * AUTHENTICATION_FAILURE if absent (RFC 7143 9.2).
   */
  | { readonly state: 'failed'; readonly reason: string; readonly status?: LoginStatus };

/**
 * A running exchange of authentication, of either role. The target's begins when a method has been chosen; the
 * initiator's chooses it, so that AuthMethod is among its keys, and begins with a step without keys.
 */
export interface AuthenticationExchange {
  /** `keys`: all security keys of one complete text, possibly none; to a target's exchange without AuthMethod. */
  step(keys: ReadonlyMap<string, string>): AuthenticationStep;
}

/** How initiators are authenticated. Without one, only AuthMethod=None is offered and accepted. */
export interface Authenticator {
  /**
   * The AuthMethod values this login may choose from. With `None` among them an initiator may also skip the
   * SecurityNegotiation stage.
   */
  methods(identity: LoginIdentity): readonly string[];
  /** Start an exchange of `method`, one of `methods` but not `None`. */
  begin(method: string, identity: LoginIdentity): AuthenticationExchange;
}
