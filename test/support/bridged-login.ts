/**
 * The text that an {@link IserBridge} passes on. What concerns RDMA alone is put in on the way to the target, and taken
 * out on the way back; digests are the client's connection's own, since over RDMA there are none (RFC 7145 6.1). Whatever
 * else the client and the target agree on holds on both connections.
 */

import type { ConnectionParameters } from '../../src/datamover/index.js';
import { LoginStage } from '../../src/iscsi/login/target-login.js';
import { DEFAULT_PARAMETERS } from '../../src/iscsi/login/keys.js';
import { ISER_INITIATOR_OFFER } from '../../src/iscsi/login/offer.js';
import { Bhs, LoginResponse } from '../../src/iscsi/wire/headers.js';
import { LoginFlag } from '../../src/iscsi/wire/opcodes.js';
import { buildText, parseText, type TextPair } from '../../src/iscsi/wire/text.js';

const offer = ISER_INITIATOR_OFFER;

/** RFC 7145 6.3 to 6.9 */
const OF_RDMA: readonly TextPair[] = [
  { key: 'RDMAExtensions', value: 'Yes' },
  { key: 'InitiatorRecvDataSegmentLength', value: String(offer.initiatorRecvDataSegmentLength) },
  { key: 'TargetRecvDataSegmentLength', value: String(offer.targetRecvDataSegmentLength) },
  { key: 'MaxOutstandingUnexpectedPDUs', value: String(offer.initiatorMaxOutstandingUnexpectedPDUs) },
  { key: 'TaggedBufferForSolicitedDataOnly', value: 'Yes' },
];
/** What the bridge takes in one data segment, bytes; the target takes less. */
const CLIENT_DATA_SEGMENT = 262144;
const DIGESTS = ['HeaderDigest', 'DataDigest'] as const;

export class BridgedLogin {
  readonly #port: number;
  #isDiscovery = false;
  /** What the client has asked for, by key, and what target and bridge have answered. */
  readonly #asked = new Map<string, string>();
  readonly #answered = new Map<string, string>();

  /** `port`: what discovery tells instead of the target's own. */
  constructor(port: number) {
    this.#port = port;
  }

  /** The text of a Login Request. */
  request(header: Buffer, text: Buffer): Buffer {
    const pairs = pairsOf(text);
    for (const { key, value } of pairs) this.#asked.set(key, value);
    if (this.#asked.get('SessionType') === 'Discovery') this.#isDiscovery = true;
    const isFirst = stageOf(header) === LoginStage.OPERATIONAL && !this.#asked.has('RDMAExtensions');
    const added = isFirst && !this.#isDiscovery ? OF_RDMA : [];
    for (const { key, value } of added) this.#asked.set(key, value);
    return buildText([...added, ...pairs.filter(({ key }) => !isDigest(key))]);
  }

  /** The text of a Login Response. */
  response(header: Buffer, text: Buffer): Buffer {
    const pairs = pairsOf(text).filter(({ key }) => !OF_RDMA.some((pair) => pair.key === key));
    for (const key of DIGESTS) {
      const value = this.#asked.get(key);
      if (value === undefined || this.#answered.has(key)) continue;
      pairs.push({
        key,
        value: value.split(',').find((known) => known === 'None' || known === 'CRC32C') ?? 'Reject',
      });
    }
    const isFirst =
      stageOf(header) === LoginStage.OPERATIONAL && !this.#answered.has('MaxRecvDataSegmentLength');
    if (isFirst && !this.#isDiscovery)
      pairs.push({ key: 'MaxRecvDataSegmentLength', value: String(CLIENT_DATA_SEGMENT) });
    for (const { key, value } of pairs) this.#answered.set(key, value);
    return buildText(pairs);
  }

  /** Discovery tells of the bridge. */
  textResponse(text: Buffer): Buffer {
    return buildText(
      pairsOf(text).map(({ key, value }) => ({
        key,
        value: key === 'TargetAddress' ? value.replace(/:\d+,/, `:${this.#port},`) : value,
      })),
    );
  }

  /** Whether this response is the one that ends the login. */
  static isLast(header: Buffer): boolean {
    const flags = Bhs.flags.get(header);
    return (
      LoginResponse.statusClass.get(header) === 0 &&
      (flags & LoginFlag.TRANSIT) !== 0 &&
      (flags & 3) === LoginStage.FULL_FEATURE
    );
  }

  /** The most that a command carries itself to the target, bytes. */
  readonly immediateLimit = offer.targetRecvDataSegmentLength;

  /** Of the client's connection. */
  get clientParameters(): ConnectionParameters {
    const { maxBurstLength, maxOutstandingR2T, initiatorMaxRecvDataSegmentLength } = DEFAULT_PARAMETERS;
    return {
      headerDigest: this.#answered.get('HeaderDigest') === 'CRC32C',
      dataDigest: this.#answered.get('DataDigest') === 'CRC32C',
      maxSendDataSegmentLength: Number(
        this.#asked.get('MaxRecvDataSegmentLength') ?? initiatorMaxRecvDataSegmentLength,
      ),
      maxRecvDataSegmentLength: CLIENT_DATA_SEGMENT,
      maxBurstLength: Number(this.#answered.get('MaxBurstLength') ?? maxBurstLength),
      maxOutstandingR2T: Number(this.#answered.get('MaxOutstandingR2T') ?? maxOutstandingR2T),
      errorRecoveryLevel: 0,
      helloRequired: false,
      taggedBufferForSolicitedDataOnly: false,
      maxReceivePDUs: 0,
    };
  }

  /** Of the connection to the target; `tasks`: commands that may be under way. */
  targetParameters(tasks: number): ConnectionParameters {
    return {
      ...this.clientParameters,
      headerDigest: false,
      dataDigest: false,
      maxSendDataSegmentLength: offer.targetRecvDataSegmentLength,
      maxRecvDataSegmentLength: this.#isDiscovery
        ? offer.initiatorMaxRecvDataSegmentLength
        : offer.initiatorRecvDataSegmentLength,
      taggedBufferForSolicitedDataOnly: true,
      // Requests of other kinds are few.
      maxReceivePDUs: tasks + 2 * offer.initiatorMaxOutstandingUnexpectedPDUs,
    };
  }
}

function pairsOf(text: Buffer): TextPair[] {
  const parsed = parseText(text);
  if ('error' in parsed) throw new Error(`the bridge cannot read a text: ${parsed.error}`);
  return [...parsed.pairs];
}

const stageOf = (header: Buffer): number => (Bhs.flags.get(header) >> 2) & 3;
const isDigest = (key: string): boolean => (DIGESTS as readonly string[]).includes(key);
