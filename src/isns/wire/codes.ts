/** The numbers of iSNSP: functions, flags, status codes (RFC 4171 4.1.3, 5.1.4, 5.4). */

/** The version of the protocol (RFC 4171 5.1.1). */
export const VERSION = 1;

/** The TCP port of iSNS servers, which IANA assigned. */
export const ISNS_PORT = 3205;

/** Requests; a response has {@link RESPONSE} set as well (RFC 4171 4.1.3). */
export const FunctionId = {
  DEV_ATTR_REG: 0x0001,
  DEV_ATTR_QRY: 0x0002,
  DEV_GET_NEXT: 0x0003,
  DEV_DEREG: 0x0004,
  ESI: 0x000d,
} as const;

/** The bit that tells a response from its request (RFC 4171 5.1.2). */
export const RESPONSE = 0x8000;

/** RFC 4171 5.1.4; its bit 16 is the most significant one of the field. */
export const Flag = {
  CLIENT: 0x8000,
  SERVER: 0x4000,
  AUTHENTICATION: 0x2000,
  REPLACE: 0x1000,
  LAST: 0x0800,
  FIRST: 0x0400,
} as const;

/** The status codes that Riser looks at or sends (RFC 4171 5.4). */
export const Status = {
  SUCCESSFUL: 0,
  MESSAGE_FORMAT_ERROR: 2,
  SOURCE_UNKNOWN: 6,
  SOURCE_ABSENT: 7,
  SOURCE_UNAUTHORIZED: 8,
  NO_SUCH_ENTRY: 9,
  INTERNAL_ERROR: 11,
  NOT_SUPPORTED: 15,
  ESI_NOT_AVAILABLE: 21,
} as const;

const STATUS_NAMES: readonly string[] = [
  'Successful',
  'Unknown Error',
  'Message Format Error',
  'Invalid Registration',
  'RESERVED',
  'Invalid Query',
  'Source Unknown',
  'Source Absent',
  'Source Unauthorized',
  'No Such Entry',
  'Version Not Supported',
  'Internal Error',
  'Busy',
  'Option Not Understood',
  'Invalid Update',
  'Message (FUNCTION_ID) Not Supported',
  'SCN Event Rejected',
  'SCN Registration Rejected',
  'Attribute Not Implemented',
  'FC_DOMAIN_ID Not Available',
  'FC_DOMAIN_ID Not Allocated',
  'ESI Not Available',
  'Invalid Deregistration',
  'Registration Feature Not Supported',
];

/** `Source Unauthorized` */
export function statusName(status: number): string {
  return STATUS_NAMES[status] ?? 'RESERVED';
}
