/** What one side brings into a negotiation, and what Riser's target and initiator bring. */

import { DEFAULT_PARAMETERS, type OperationalParameters, type TaskReporting } from './keys.js';

type ListParameter = 'headerDigest' | 'dataDigest' | 'taskReporting';

/**
 * The values a side would have if it could choose. They bound what it accepts: of a number it never
 * takes more than this (less, where the result is the maximum), of a list only these.
 */
export interface Offer extends Readonly<Omit<OperationalParameters, ListParameter>> {
  /** Supported values, in order of preference when proposed. */
  readonly headerDigest: readonly ('CRC32C' | 'None')[];
  readonly dataDigest: readonly ('CRC32C' | 'None')[];
  readonly taskReporting: readonly TaskReporting[];
  /** Keys that this side sends without being asked. */
  readonly sends: readonly string[];
}

/**
 * What Riser's target offers.
 *
 * It proposes nothing on its own: initiators in the field (open-iscsi) end a login over a key that they do not
 * expect, and each of them asks for what it can use.
 */
export const TARGET_OFFER: Offer = {
  ...DEFAULT_PARAMETERS,
  headerDigest: ['CRC32C', 'None'],
  dataDigest: ['CRC32C', 'None'],
  // With one connection a session, responses are in order anyway: the fence of RFC 7143 4.2.2.3.3 always stands.
  taskReporting: ['ResponseFence', 'RFC3720'],
  maxConnections: 1,
  initialR2T: false,
  immediateData: true,
  targetMaxRecvDataSegmentLength: 262144,
  maxBurstLength: 1048576,
  firstBurstLength: 262144,
  defaultTime2Wait: 2,
  // Without recovery of connections there is nothing to retain (RFC 7143 13.16).
  defaultTime2Retain: 0,
  maxOutstandingR2T: 16,
  dataPDUInOrder: true,
  dataSequenceInOrder: true,
  errorRecoveryLevel: 0,
  iSCSIProtocolLevel: 2,
  rdmaExtensions: false,
  sends: ['MaxRecvDataSegmentLength'],
};

/**
 * What it offers on a connection over RDMA (RFC 7145 6). Data is solicited, so that it moves by RDMA, but for what fits in the
 * command itself.
 */
export const ISER_TARGET_OFFER: Offer = {
  ...TARGET_OFFER,
  headerDigest: ['None'],
  dataDigest: ['None'],
  rdmaExtensions: true,
  initialR2T: true,
  maxBurstLength: 2 ** 24 - 1,
  targetRecvDataSegmentLength: 8192,
  targetMaxOutstandingUnexpectedPDUs: 32,
  sends: [],
};

/**
 * What Riser's initiator offers: one connection, everything in order, no recovery below the session, as much
 * unsolicited data as a target takes.
 */
export const INITIATOR_OFFER: Offer = {
  ...DEFAULT_PARAMETERS,
  headerDigest: ['None', 'CRC32C'],
  dataDigest: ['None', 'CRC32C'],
  taskReporting: ['RFC3720'],
  initialR2T: false,
  immediateData: true,
  initiatorMaxRecvDataSegmentLength: 262144,
  maxBurstLength: 1048576,
  firstBurstLength: 262144,
  defaultTime2Wait: 2,
  defaultTime2Retain: 0,
  maxOutstandingR2T: 8,
  sends: [
    'HeaderDigest',
    'DataDigest',
    'MaxConnections',
    'InitialR2T',
    'ImmediateData',
    'MaxRecvDataSegmentLength',
    'MaxBurstLength',
    'FirstBurstLength',
    'DefaultTime2Wait',
    'DefaultTime2Retain',
    'ErrorRecoveryLevel',
    'DataPDUInOrder',
    'DataSequenceInOrder',
    'MaxOutstandingR2T',
  ],
};

/** What it offers on a connection over RDMA. Nothing but commands with little data carries data itself. */
export const ISER_INITIATOR_OFFER: Offer = {
  ...INITIATOR_OFFER,
  headerDigest: ['None'],
  dataDigest: ['None'],
  rdmaExtensions: true,
  initialR2T: true,
  maxBurstLength: 2 ** 24 - 1,
  // Of discovery sessions, which have no other key for it.
  initiatorMaxRecvDataSegmentLength: 8192,
  initiatorRecvDataSegmentLength: 1024,
  targetRecvDataSegmentLength: 8192,
  initiatorMaxOutstandingUnexpectedPDUs: 32,
  taggedBufferForSolicitedDataOnly: true,
  sends: [
    'RDMAExtensions',
    ...INITIATOR_OFFER.sends,
    'InitiatorRecvDataSegmentLength',
    'TargetRecvDataSegmentLength',
    'MaxOutstandingUnexpectedPDUs',
    'TaggedBufferForSolicitedDataOnly',
  ],
};
