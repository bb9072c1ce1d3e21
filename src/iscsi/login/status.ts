/** Login Response status: one list of value, name and text (RFC 7143 11.13.5). */

/** A Status-Class and Status-Detail. */
export interface LoginStatus {
  /** Class in the high byte, detail in the low one, as the RFC's table prints it: 0x0203. */
  readonly code: number;
  readonly statusClass: number;
  readonly statusDetail: number;
  readonly text: string;
}

function status(code: number, text: string): LoginStatus {
  return { code, statusClass: code >> 8, statusDetail: code & 0xff, text };
}

/** All statuses of RFC 7143 11.13.5. */
export const LoginStatus = {
  SUCCESS: status(0x0000, 'login is proceeding'),
  TARGET_MOVED_TEMPORARILY: status(0x0101, 'target moved temporarily'),
  TARGET_MOVED_PERMANENTLY: status(0x0102, 'target moved permanently'),
  INITIATOR_ERROR: status(0x0200, 'initiator error'),
  AUTHENTICATION_FAILURE: status(0x0201, 'authentication failure'),
  AUTHORIZATION_FAILURE: status(0x0202, 'authorization failure'),
  NOT_FOUND: status(0x0203, 'target not found'),
  TARGET_REMOVED: status(0x0204, 'target removed'),
  UNSUPPORTED_VERSION: status(0x0205, 'unsupported version'),
  TOO_MANY_CONNECTIONS: status(0x0206, 'too many connections'),
  MISSING_PARAMETER: status(0x0207, 'missing parameter'),
  CANNOT_INCLUDE_IN_SESSION: status(0x0208, "can't include in session"),
  SESSION_TYPE_NOT_SUPPORTED: status(0x0209, 'session type not supported'),
  SESSION_DOES_NOT_EXIST: status(0x020a, 'session does not exist'),
  INVALID_DURING_LOGIN: status(0x020b, 'invalid request during login'),
  TARGET_ERROR: status(0x0300, 'target error'),
  SERVICE_UNAVAILABLE: status(0x0301, 'service unavailable'),
  OUT_OF_RESOURCES: status(0x0302, 'out of resources'),
} as const;

/** The status with this code, for whoever reads a Login Response; undefined if the RFC lists none. */
export function loginStatusOf(code: number): LoginStatus | undefined {
  return Object.values(LoginStatus).find((known) => known.code === code);
}
