/**
 * The operational keys of RFC 7143 13, RFC 7144 7 and RFC 7145 6, in one table: what kind of value a key
 * has, how its result is found, who may send it when, and when it is irrelevant. Negotiation, in both
 * roles and in all stages, is this table being run.
 */

import type { SessionType } from './policy.js';

export type Role = 'initiator' | 'target';
export type Stage = 'security' | 'operational' | 'fullFeature';
export type TaskReporting = 'RFC3720' | 'ResponseFence' | 'FastAbort';

/** The values in force, defaults where nothing was negotiated. */
export interface OperationalParameters {
  /** Whether a CRC32C follows each header. */
  headerDigest: boolean;
  /** Whether a CRC32C follows each data segment. */
  dataDigest: boolean;
  maxConnections: number;
  initialR2T: boolean;
  immediateData: boolean;
  /** What the initiator can receive in one data segment, bytes. */
  initiatorMaxRecvDataSegmentLength: number;
  /** What the target can receive in one data segment, bytes. */
  targetMaxRecvDataSegmentLength: number;
  /** Bytes. */
  maxBurstLength: number;
  /** Bytes; never above maxBurstLength. */
  firstBurstLength: number;
  /** Seconds. */
  defaultTime2Wait: number;
  /** Seconds. */
  defaultTime2Retain: number;
  maxOutstandingR2T: number;
  dataPDUInOrder: boolean;
  dataSequenceInOrder: boolean;
  errorRecoveryLevel: number;
  taskReporting: TaskReporting;
  /** RFC 7144 7.1.1. */
  iSCSIProtocolLevel: number;
  /** iSER-assisted mode (RFC 7145 6.3). */
  rdmaExtensions: boolean;
  /** iSER: longest data segment of a control-type PDU to the initiator, bytes (RFC 7145 6.5). */
  initiatorRecvDataSegmentLength: number;
  /** iSER: longest data segment of a control-type PDU to the target, bytes (RFC 7145 6.4). */
  targetRecvDataSegmentLength: number;
  /** iSER: unexpected control-type PDUs each side can have outstanding towards it; 0 is no limit. */
  initiatorMaxOutstandingUnexpectedPDUs: number;
  targetMaxOutstandingUnexpectedPDUs: number;
  /** iSER: longest additional header segment each side can receive, bytes; 0 is no limit. */
  initiatorMaxAHSLength: number;
  targetMaxAHSLength: number;
  /** iSER: the write buffer that is advertised holds solicited data only (RFC 7145 6.9). */
  taggedBufferForSolicitedDataOnly: boolean;
  iSERHelloRequired: boolean;
}

/** The defaults of RFC 7143 13, RFC 7144 7.1.1 and RFC 7145 6. */
export const DEFAULT_PARAMETERS: Readonly<OperationalParameters> = {
  headerDigest: false,
  dataDigest: false,
  maxConnections: 1,
  initialR2T: true,
  immediateData: true,
  initiatorMaxRecvDataSegmentLength: 8192,
  targetMaxRecvDataSegmentLength: 8192,
  maxBurstLength: 262144,
  firstBurstLength: 65536,
  defaultTime2Wait: 2,
  defaultTime2Retain: 20,
  maxOutstandingR2T: 1,
  dataPDUInOrder: true,
  dataSequenceInOrder: true,
  errorRecoveryLevel: 0,
  taskReporting: 'RFC3720',
  iSCSIProtocolLevel: 1,
  rdmaExtensions: false,
  initiatorRecvDataSegmentLength: 8192,
  targetRecvDataSegmentLength: 8192,
  initiatorMaxOutstandingUnexpectedPDUs: 0,
  targetMaxOutstandingUnexpectedPDUs: 0,
  initiatorMaxAHSLength: 256,
  targetMaxAHSLength: 256,
  taggedBufferForSolicitedDataOnly: false,
  iSERHelloRequired: false,
};

/** What a further connection of a session begins with: what is each connection's own has its default (RFC 7143 13). */
export function forNextConnection(parameters: Readonly<OperationalParameters>): OperationalParameters {
  const { headerDigest, dataDigest } = DEFAULT_PARAMETERS;
  const { initiatorMaxRecvDataSegmentLength, targetMaxRecvDataSegmentLength } = DEFAULT_PARAMETERS;
  return {
    ...parameters,
    headerDigest,
    dataDigest,
    initiatorMaxRecvDataSegmentLength,
    targetMaxRecvDataSegmentLength,
  };
}

/** The parameters of type T. */
type Named<T> = {
  [K in keyof OperationalParameters]: OperationalParameters[K] extends T ? K : never;
}[keyof OperationalParameters];
export type BooleanParameter = Exclude<Named<boolean>, 'headerDigest' | 'dataDigest'>;
export type NumberParameter = Named<number>;

/** What relevance and ceilings depend on. */
export interface NegotiationState {
  readonly sessionType: SessionType;
  readonly parameters: Readonly<OperationalParameters>;
}

interface KeyCommon {
  readonly name: string;
  /** RFC 7143 13: leading login only, any login, login and full feature phase, full feature phase only. */
  readonly use: 'LO' | 'IO' | 'ALL' | 'FFPO';
  readonly senders: Role | 'both';
  readonly scope: 'session' | 'connection';
  /** May also appear in the SecurityNegotiation stage. */
  readonly anyStage?: boolean;
  /** Specified after RFC 3720, so that a peer may answer NotUnderstood (RFC 7143 6.2). */
  readonly later?: boolean;
  readonly irrelevant?: (state: NegotiationState) => boolean;
}

/** Negotiated: Yes or No. */
export interface BooleanKey extends KeyCommon {
  readonly kind: 'boolean';
  readonly result: 'AND' | 'OR';
  readonly parameter: BooleanParameter;
}

/** Negotiated: a number from `min` to `max`. */
export interface NumberKey extends KeyCommon {
  readonly kind: 'number';
  readonly result: 'minimum' | 'maximum';
  readonly min: number;
  readonly max: number;
  readonly parameter: NumberParameter;
  /** What another parameter caps this one at (RFC 7143 6.2: integrity rules). */
  readonly ceiling?: (state: NegotiationState) => number;
}

/** Negotiated: the first value of the proposer's list that the acceptor supports. */
export interface ListKey extends KeyCommon {
  readonly kind: 'list';
  readonly parameter: 'headerDigest' | 'dataDigest' | 'taskReporting';
  readonly values: readonly string[];
}

/** Declared: a number, one for each sender. */
export interface DeclaredNumberKey extends KeyCommon {
  readonly kind: 'declaredNumber';
  readonly min: number;
  readonly max: number;
  /** Whether 0 is allowed as well, for "no limit". */
  readonly unlimited?: boolean;
  readonly parameter: Readonly<Record<Role, NumberParameter>>;
}

/** Declared: Yes or No. */
export interface DeclaredBooleanKey extends KeyCommon {
  readonly kind: 'declaredBoolean';
  readonly parameter: BooleanParameter;
}

/** Declared: text for whoever reads it, at most 255 bytes. */
export interface DeclaredTextKey extends KeyCommon {
  readonly kind: 'declaredText';
}

/** A request for information, answered above the negotiation: SendTargets. */
export interface QueryKey extends KeyCommon {
  readonly kind: 'query';
}

/** Of RFC 3720 and obsolete since: answered Reject (RFC 7143 13.25). */
export interface ObsoleteKey extends KeyCommon {
  readonly kind: 'obsolete';
}

export type KeyRule =
  | BooleanKey
  | NumberKey
  | ListKey
  | DeclaredNumberKey
  | DeclaredBooleanKey
  | DeclaredTextKey
  | QueryKey
  | ObsoleteKey;

const inDiscovery = (state: NegotiationState): boolean => state.sessionType === 'Discovery';
const overRdma = (state: NegotiationState): boolean => state.parameters.rdmaExtensions;
const overTcp = (state: NegotiationState): boolean => !state.parameters.rdmaExtensions;

const BOTH = { senders: 'both' } as const;
const SESSION = { use: 'LO', scope: 'session', ...BOTH } as const;
const OPERATION = { ...SESSION, irrelevant: inDiscovery } as const;
const DECLARED = { kind: 'declaredText', scope: 'session', anyStage: true } as const;
const OBSOLETE = { kind: 'obsolete', use: 'IO', scope: 'connection', ...BOTH } as const;
const DATA_SEGMENT = { min: 512, max: 2 ** 24 - 1 } as const;
const OR_UNLIMITED = { min: 2, max: 2 ** 32 - 1, unlimited: true } as const;
const DIGEST = { kind: 'list', values: ['CRC32C', 'None'], use: 'IO', scope: 'connection', ...BOTH } as const;

/** All keys, each after those that its relevance or its ceiling depends on. */
export const KEYS: readonly KeyRule[] = [
  // RFC 7143 13.4 to 13.9, 13.21: who and where.
  { ...DECLARED, name: 'InitiatorName', use: 'IO', senders: 'initiator' },
  { ...DECLARED, name: 'InitiatorAlias', use: 'ALL', senders: 'initiator' },
  { ...DECLARED, name: 'TargetName', use: 'IO', senders: 'initiator' },
  { ...DECLARED, name: 'TargetAlias', use: 'ALL', senders: 'target' },
  { ...DECLARED, name: 'TargetAddress', use: 'ALL', senders: 'target' },
  { ...DECLARED, name: 'TargetPortalGroupTag', use: 'IO', senders: 'target' },
  { ...DECLARED, name: 'SessionType', use: 'LO', senders: 'initiator' },
  // RFC 7143 13.26. Silence is an allowed answer.
  { ...DECLARED, name: 'X#NodeArchitecture', use: 'LO', senders: 'both', anyStage: false, later: true },
  // RFC 7143 13.3
  { kind: 'query', name: 'SendTargets', use: 'FFPO', senders: 'initiator', scope: 'session' },

  // RFC 7145 6.3: everything below may depend on it.
  {
    ...OPERATION,
    name: 'RDMAExtensions',
    kind: 'boolean',
    result: 'AND',
    parameter: 'rdmaExtensions',
    later: true,
  },

  // RFC 7143 13.1, RFC 7145 6.1
  { ...DIGEST, name: 'HeaderDigest', parameter: 'headerDigest', irrelevant: overRdma },
  { ...DIGEST, name: 'DataDigest', parameter: 'dataDigest', irrelevant: overRdma },
  // RFC 7143 13.2
  {
    ...OPERATION,
    name: 'MaxConnections',
    kind: 'number',
    result: 'minimum',
    min: 1,
    max: 65535,
    parameter: 'maxConnections',
  },
  // RFC 7143 13.10, 13.11
  { ...OPERATION, name: 'InitialR2T', kind: 'boolean', result: 'OR', parameter: 'initialR2T' },
  { ...OPERATION, name: 'ImmediateData', kind: 'boolean', result: 'AND', parameter: 'immediateData' },
  // RFC 7143 13.12
  {
    name: 'MaxRecvDataSegmentLength',
    kind: 'declaredNumber',
    ...DATA_SEGMENT,
    use: 'ALL',
    senders: 'both',
    scope: 'connection',
    parameter: { initiator: 'initiatorMaxRecvDataSegmentLength', target: 'targetMaxRecvDataSegmentLength' },
  },
  // RFC 7143 13.13, 13.14
  {
    ...OPERATION,
    name: 'MaxBurstLength',
    kind: 'number',
    result: 'minimum',
    ...DATA_SEGMENT,
    parameter: 'maxBurstLength',
  },
  {
    ...OPERATION,
    name: 'FirstBurstLength',
    kind: 'number',
    result: 'minimum',
    ...DATA_SEGMENT,
    parameter: 'firstBurstLength',
    irrelevant: (state) =>
      inDiscovery(state) || (state.parameters.initialR2T && !state.parameters.immediateData),
    ceiling: (state) => state.parameters.maxBurstLength,
  },
  // RFC 7143 13.15, 13.16
  {
    ...SESSION,
    name: 'DefaultTime2Wait',
    kind: 'number',
    result: 'maximum',
    min: 0,
    max: 3600,
    parameter: 'defaultTime2Wait',
  },
  {
    ...SESSION,
    name: 'DefaultTime2Retain',
    kind: 'number',
    result: 'minimum',
    min: 0,
    max: 3600,
    parameter: 'defaultTime2Retain',
  },
  // RFC 7143 13.20, and 7.4.1: a discovery session answers 0.
  {
    ...SESSION,
    name: 'ErrorRecoveryLevel',
    kind: 'number',
    result: 'minimum',
    min: 0,
    max: 2,
    parameter: 'errorRecoveryLevel',
    ceiling: (state) => (inDiscovery(state) ? 0 : 2),
  },
  // RFC 7143 13.18, 13.19
  { ...OPERATION, name: 'DataPDUInOrder', kind: 'boolean', result: 'OR', parameter: 'dataPDUInOrder' },
  {
    ...OPERATION,
    name: 'DataSequenceInOrder',
    kind: 'boolean',
    result: 'OR',
    parameter: 'dataSequenceInOrder',
  },
  // RFC 7143 13.17; 13.19: with recovery and sequences in order there MUST be one.
  {
    ...OPERATION,
    name: 'MaxOutstandingR2T',
    kind: 'number',
    result: 'minimum',
    min: 1,
    max: 65535,
    parameter: 'maxOutstandingR2T',
    ceiling: ({ parameters }) =>
      parameters.errorRecoveryLevel > 0 && parameters.dataSequenceInOrder ? 1 : 65535,
  },
  // RFC 7143 13.23
  {
    ...OPERATION,
    name: 'TaskReporting',
    kind: 'list',
    values: ['RFC3720', 'ResponseFence', 'FastAbort'],
    parameter: 'taskReporting',
    later: true,
  },
  // RFC 7144 7.1.1
  {
    ...OPERATION,
    name: 'iSCSIProtocolLevel',
    kind: 'number',
    result: 'minimum',
    min: 0,
    max: 31,
    parameter: 'iSCSIProtocolLevel',
    later: true,
  },

  // RFC 7145 6.4 to 6.10
  {
    name: 'TargetRecvDataSegmentLength',
    kind: 'number',
    result: 'minimum',
    ...DATA_SEGMENT,
    use: 'IO',
    senders: 'both',
    scope: 'connection',
    parameter: 'targetRecvDataSegmentLength',
    irrelevant: overTcp,
    later: true,
  },
  {
    name: 'InitiatorRecvDataSegmentLength',
    kind: 'number',
    result: 'minimum',
    ...DATA_SEGMENT,
    use: 'IO',
    senders: 'both',
    scope: 'connection',
    parameter: 'initiatorRecvDataSegmentLength',
    irrelevant: overTcp,
    later: true,
  },
  {
    ...SESSION,
    name: 'MaxOutstandingUnexpectedPDUs',
    kind: 'declaredNumber',
    ...OR_UNLIMITED,
    parameter: {
      initiator: 'initiatorMaxOutstandingUnexpectedPDUs',
      target: 'targetMaxOutstandingUnexpectedPDUs',
    },
    irrelevant: overTcp,
    later: true,
  },
  {
    ...SESSION,
    name: 'MaxAHSLength',
    kind: 'declaredNumber',
    ...OR_UNLIMITED,
    parameter: { initiator: 'initiatorMaxAHSLength', target: 'targetMaxAHSLength' },
    irrelevant: overTcp,
    later: true,
  },
  {
    ...SESSION,
    name: 'TaggedBufferForSolicitedDataOnly',
    kind: 'declaredBoolean',
    senders: 'initiator',
    parameter: 'taggedBufferForSolicitedDataOnly',
    irrelevant: overTcp,
    later: true,
  },
  {
    ...SESSION,
    name: 'iSERHelloRequired',
    kind: 'declaredBoolean',
    senders: 'initiator',
    parameter: 'iSERHelloRequired',
    irrelevant: overTcp,
    later: true,
  },

  // RFC 7143 13.25
  { ...OBSOLETE, name: 'IFMarker' },
  { ...OBSOLETE, name: 'OFMarker' },
  { ...OBSOLETE, name: 'IFMarkInt' },
  { ...OBSOLETE, name: 'OFMarkInt' },
];

const BY_NAME: ReadonlyMap<string, KeyRule> = new Map(KEYS.map((rule) => [rule.name, rule]));

/** The rule of a key, undefined for one that is not understood. */
export function keyRule(name: string): KeyRule | undefined {
  return BY_NAME.get(name);
}

/** Whether a key belongs to the SecurityNegotiation stage (RFC 7143 12). */
export function isSecurityKey(name: string): boolean {
  return name === 'AuthMethod' || /^(CHAP|SRP|KRB)_/.test(name);
}

/** Whether a key may be sent in `stage`; `leading`: on the first connection of a session (RFC 7143 13). */
export function allowedIn(rule: KeyRule, stage: Stage, leading: boolean): boolean {
  if (stage === 'fullFeature') return rule.use === 'ALL' || rule.use === 'FFPO';
  if (rule.use === 'FFPO') return false;
  if (rule.use === 'LO' && !leading) return false;
  return stage === 'operational' || rule.anyStage === true;
}
