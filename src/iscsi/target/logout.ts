/** Logout Requests (RFC 7143 11.14, 11.15): the own connection's, another one's, also if that is gone already, and the session's. */

import { Bhs, LogoutRequest } from '../wire/headers.js';
import { LogoutReason, LogoutResponse } from '../wire/opcodes.js';
import type { FullFeature } from './full-feature.js';

/** How a logout of `phase` ends what it does not end itself. */
export interface ConnectionEnder {
  /**
   * End the session's connection `connectionId`, or with null all of them, but for `phase`; false if there is no such one. `forRecovery`:
   * its tasks wait for a new allegiance.
   */
  endConnection(phase: FullFeature, connectionId: number | null, forRecovery: boolean): boolean;
  /** A connection is logged out and about to end; with the session's last one the I_T nexus is lost at once. */
  loggedOut(): void;
}

export function logoutReason(request: Buffer): number {
  return Bhs.flags.get(request) & 0x7f;
}

/** What to answer; commands that end are over when this returns. */
export function handleLogout(phase: FullFeature, host: ConnectionEnder, request: Buffer): number {
  const reason = logoutReason(request);
  const { lost } = phase.commands;
  const cid = LogoutRequest.cid.get(request);
  const isOwn = cid === phase.connectionId;
  if (reason === LogoutReason.CLOSE_SESSION) {
    host.endConnection(phase, null, false);
    lost.discardAll();
    return LogoutResponse.SUCCESS;
  }
  if (reason === LogoutReason.CLOSE_CONNECTION) {
    const wasLost = lost.close(cid);
    return isOwn || host.endConnection(phase, cid, false) || wasLost
      ? LogoutResponse.SUCCESS
      : LogoutResponse.CID_NOT_FOUND;
  }
  if (reason !== LogoutReason.REMOVE_FOR_RECOVERY || phase.parameters.errorRecoveryLevel < 2)
    return LogoutResponse.RECOVERY_NOT_SUPPORTED;
  if (isOwn) phase.removeForRecovery();
  else host.endConnection(phase, cid, true);
  return lost.logOut(cid, LogoutRequest.expStatSN.get(request)) || isOwn
    ? LogoutResponse.SUCCESS
    : LogoutResponse.CID_NOT_FOUND;
}

/** Whether ExpStatSN of a Logout Request is another connection's (RFC 7143 11.14.4). */
export function isLogoutOfOther(phase: FullFeature, request: Buffer): boolean {
  const reason = logoutReason(request);
  return reason !== LogoutReason.CLOSE_SESSION && LogoutRequest.cid.get(request) !== phase.connectionId;
}
