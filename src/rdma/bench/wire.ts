/**
 * What perftest's two sides tell each other before and after a run, as it is on the wire: docs/PEERS.md has the order.
 * Everything is big-endian, texts are ASCII. (perftest 6.06, src/perftest_communication.c, src/perftest_resources.h)
 */

import { RiserError } from '../../util/errors.js';
import { u32, u64 } from '../../util/fields.js';

/** The version of the exchange that is spoken here, which is that of the perftest it was learned from. */
export const VERSION = '6.06';
/** perftest refuses what is older. */
const OLDEST_VERSION = 5.7;
const VERSION_BYTES = 16;

/** The longest that is exchanged. */
export const LONGEST_RECORD = 56;
export const NUMBER_BYTES = 4;
export const MTU_BYTES = 2;

/** What one side tells the other of itself: `struct pingpong_dest`. */
export interface Destination {
  /** RDMA Reads that it has under way at most. */
  outstandingReads: number;
  queuePairNumber: number;
  /** Of its memory, 64 bits as two words. In send tests over iWARP: of its count of credits. */
  addressHigh: number;
  addressLow: number;
  remoteKey: number;
}

const Field = {
  lid: u32(0),
  outstandingReads: u32(4),
  queuePairNumber: u32(8),
  packetSequenceNumber: u32(12),
  remoteKey: u32(16),
  addressHigh: u32(24),
  addressLow: u32(28),
  gid: u64(32),
  sharedReceiveQueueNumber: u32(48),
  gidIndex: u32(52),
} as const;
const DESTINATION_BYTES = 56;

/** What only other transports use stays zero. */
export function encodeDestination(destination: Destination): Buffer {
  const bytes = Buffer.alloc(DESTINATION_BYTES);
  Field.outstandingReads.set(bytes, destination.outstandingReads);
  Field.queuePairNumber.set(bytes, destination.queuePairNumber);
  Field.remoteKey.set(bytes, destination.remoteKey);
  Field.addressHigh.set(bytes, destination.addressHigh);
  Field.addressLow.set(bytes, destination.addressLow);
  return bytes;
}

/** `bytes`: {@link DESTINATION_BYTES} of them at least. */
export function decodeDestination(bytes: Buffer): Destination {
  return {
    outstandingReads: Field.outstandingReads.get(bytes),
    queuePairNumber: Field.queuePairNumber.get(bytes),
    remoteKey: Field.remoteKey.get(bytes),
    addressHigh: Field.addressHigh.get(bytes),
    addressLow: Field.addressLow.get(bytes),
  };
}

export function encodeVersion(): Buffer {
  const bytes = Buffer.alloc(VERSION_BYTES);
  bytes.write(VERSION, 'latin1');
  return bytes;
}

/** @throws RiserError `BENCH_PEER` */
export function checkVersion(bytes: Buffer): void {
  const text = bytes.toString('latin1').replace(/\0.*$/s, '');
  const version = /^\d{1,4}(\.\d{1,4})?/.exec(text);
  if (version === null) throw strange(`its version is no number: ${JSON.stringify(text)}`);
  if (Number(version[0]) < OLDEST_VERSION)
    throw strange(`it speaks version ${version[0]}, which is older than 5.70`);
}

export function encodeNumber(value: number): Buffer {
  const bytes = Buffer.alloc(NUMBER_BYTES);
  bytes.writeInt32BE(value);
  return bytes;
}

export function decodeNumber(bytes: Buffer): number {
  return bytes.readInt32BE();
}

/** A code of libibverbs (1: 256 bytes, 5: 4096) as a digit. iWARP has no such MTU: perftest looks at it, and that is all. */
export function encodeMtu(code: number): Buffer {
  return Buffer.from(`${code}\0`, 'latin1');
}

/** What the requester of a bandwidth test tells the other side: `struct bw_report_data`, field by field. */
export interface BandwidthReport {
  /** Bytes of a message. */
  size: number;
  iterations: number;
  /** MiB a second; the peak is 0 where it was not looked for. */
  peak: number;
  average: number;
  /** Millions of messages a second. */
  messageRate: number;
}

/** Each field is an exchange of its own. */
export function encodeReport({ size, iterations, peak, average, messageRate }: BandwidthReport): Buffer[] {
  const whole = (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(value));
    return bytes;
  };
  const real = (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return bytes;
  };
  return [whole(size), whole(iterations), real(peak), real(average), real(messageRate)];
}

export function decodeReport(fields: readonly Buffer[]): BandwidthReport {
  const [size, iterations, peak, average, messageRate] = fields as [Buffer, Buffer, Buffer, Buffer, Buffer];
  return {
    size: Number(size.readBigUInt64BE()),
    iterations: Number(iterations.readBigUInt64BE()),
    peak: peak.readDoubleBE(),
    average: average.readDoubleBE(),
    messageRate: messageRate.readDoubleBE(),
  };
}

export function strange(what: string): RiserError {
  return new RiserError('BENCH_PEER', `the peer is no benchmark as this one is: ${what}`, {
    by: 'peer',
    costs: 'process',
    remedy: "It has to be Riser's, or perftest's with -R (ib_write_bw -R ...).",
  });
}
