/** iSCSI opcodes, flags and the values of their code fields (RFC 7143 11). */

/** Opcode field, byte 0 bits 0-5 (RFC 7143 11.2.1.2). */
export const Opcode = {
  NOP_OUT: 0x00,
  SCSI_COMMAND: 0x01,
  TASK_MANAGEMENT_REQUEST: 0x02,
  LOGIN_REQUEST: 0x03,
  TEXT_REQUEST: 0x04,
  DATA_OUT: 0x05,
  LOGOUT_REQUEST: 0x06,
  SNACK_REQUEST: 0x10,
  NOP_IN: 0x20,
  SCSI_RESPONSE: 0x21,
  TASK_MANAGEMENT_RESPONSE: 0x22,
  LOGIN_RESPONSE: 0x23,
  TEXT_RESPONSE: 0x24,
  DATA_IN: 0x25,
  LOGOUT_RESPONSE: 0x26,
  R2T: 0x31,
  ASYNC_MESSAGE: 0x32,
  REJECT: 0x3f,
} as const;
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

export const OPCODE_MASK = 0x3f;
/** Immediate delivery bit of byte 0. */
export const IMMEDIATE = 0x40;
/** Final bit of byte 1, in every PDU that has one. */
export const FINAL = 0x80;
/** The reserved Initiator Task Tag and Target Transfer Tag (RFC 7143 11.2.1.8). */
export const RESERVED_TAG = 0xffff_ffff;

/** SCSI Command, byte 1 (RFC 7143 11.3.1). */
export const CommandFlag = { READ: 0x40, WRITE: 0x20, ATTRIBUTE_MASK: 0x07 } as const;

/** PRI, the upper half of byte 2 of a SCSI Command PDU (RFC 7144 5.1.1). */
export const PRIORITY_SHIFT = 4;

/** SCSI Command ATTR field (RFC 7143 11.3.1). */
export const CommandAttribute = { UNTAGGED: 0, SIMPLE: 1, ORDERED: 2, HEAD_OF_QUEUE: 3, ACA: 4 } as const;

/** SCSI Response and Data-In, byte 1 (RFC 7143 11.4.1, 11.7). */
export const ResponseFlag = {
  BIDIRECTIONAL_OVERFLOW: 0x10,
  BIDIRECTIONAL_UNDERFLOW: 0x08,
  OVERFLOW: 0x04,
  UNDERFLOW: 0x02,
} as const;

/** Data-In, byte 1: the PDU carries status (RFC 7143 11.7.1). */
export const DATA_IN_STATUS = 0x01;
/** Data-In, byte 1: the target asks for a DataACK (RFC 7143 11.7.2). */
export const DATA_IN_ACKNOWLEDGE = 0x40;

/** SNACK types (RFC 7143 11.16.1). */
export const SnackType = { DATA_OR_R2T: 0, STATUS: 1, DATA_ACK: 2, R_DATA: 3 } as const;
export type SnackType = (typeof SnackType)[keyof typeof SnackType];

/** Response field of a SCSI Response (RFC 7143 11.4.3). */
export const ScsiResponse = { COMPLETED: 0x00, TARGET_FAILURE: 0x01 } as const;

/** Login and Text flags, byte 1 (RFC 7143 11.12, 11.10). */
export const LoginFlag = { TRANSIT: 0x80, CONTINUE: 0x40 } as const;
export const TextFlag = { FINAL: 0x80, CONTINUE: 0x40 } as const;

/** Additional header segment types (RFC 7143 11.2.2.2). */
export const AhsType = { EXTENDED_CDB: 1, BIDIRECTIONAL_READ_LENGTH: 2 } as const;

/** Reject reasons (RFC 7143 11.17.1), each with the text for the log. */
export const RejectReason = {
  DATA_DIGEST_ERROR: 0x02,
  SNACK_REJECT: 0x03,
  PROTOCOL_ERROR: 0x04,
  COMMAND_NOT_SUPPORTED: 0x05,
  IMMEDIATE_COMMAND_REJECT: 0x06,
  TASK_IN_PROGRESS: 0x07,
  INVALID_DATA_ACK: 0x08,
  INVALID_PDU_FIELD: 0x09,
  LONG_OPERATION_REJECT: 0x0a,
  NEGOTIATION_RESET: 0x0b,
  WAITING_FOR_LOGOUT: 0x0c,
} as const;
export type RejectReason = (typeof RejectReason)[keyof typeof RejectReason];

/** Task management functions (RFC 7143 11.5.1, RFC 7144 4.1). */
export const TaskManagementFunction = {
  ABORT_TASK: 1,
  ABORT_TASK_SET: 2,
  CLEAR_ACA: 3,
  CLEAR_TASK_SET: 4,
  LOGICAL_UNIT_RESET: 5,
  TARGET_WARM_RESET: 6,
  TARGET_COLD_RESET: 7,
  TASK_REASSIGN: 8,
  QUERY_TASK: 9,
  QUERY_TASK_SET: 10,
  I_T_NEXUS_RESET: 11,
  QUERY_ASYNCHRONOUS_EVENT: 12,
} as const;
export type TaskManagementFunction = (typeof TaskManagementFunction)[keyof typeof TaskManagementFunction];

/** Whether a function aborts several tasks (RFC 7143 4.2.3.3): of one logical unit, or with a reset of the target of all. */
export function isAboutSeveralTasks(code: number): boolean {
  switch (code) {
    case TaskManagementFunction.ABORT_TASK_SET:
    case TaskManagementFunction.CLEAR_TASK_SET:
    case TaskManagementFunction.LOGICAL_UNIT_RESET:
    case TaskManagementFunction.TARGET_WARM_RESET:
    case TaskManagementFunction.TARGET_COLD_RESET:
      return true;
    default:
      return false;
  }
}

/** Task management responses (RFC 7143 11.6.1). */
export const TaskManagementResponse = {
  FUNCTION_COMPLETE: 0,
  TASK_DOES_NOT_EXIST: 1,
  LUN_DOES_NOT_EXIST: 2,
  TASK_STILL_ALLEGIANT: 3,
  REASSIGNMENT_NOT_SUPPORTED: 4,
  NOT_SUPPORTED: 5,
  AUTHORIZATION_FAILED: 6,
  /** RFC 7144 5: the answer to QUERY TASK and its kin. */
  FUNCTION_SUCCEEDED: 7,
  FUNCTION_REJECTED: 255,
} as const;
export type TaskManagementResponse = (typeof TaskManagementResponse)[keyof typeof TaskManagementResponse];

/** Logout reasons (RFC 7143 11.14.1) and responses (RFC 7143 11.15.1). */
export const LogoutReason = { CLOSE_SESSION: 0, CLOSE_CONNECTION: 1, REMOVE_FOR_RECOVERY: 2 } as const;
export type LogoutReason = (typeof LogoutReason)[keyof typeof LogoutReason];
export const LogoutResponse = {
  SUCCESS: 0,
  CID_NOT_FOUND: 1,
  RECOVERY_NOT_SUPPORTED: 2,
  CLEANUP_FAILED: 3,
} as const;

/** Async events (RFC 7143 11.9.1). */
export const AsyncEvent = {
  SCSI: 0,
  LOGOUT_REQUESTED: 1,
  CONNECTION_WILL_DROP: 2,
  SESSION_WILL_DROP: 3,
  NEGOTIATION_REQUESTED: 4,
  TASKS_TERMINATED: 5,
} as const;
