/**
 * Sequences of FPDUs that are right, with mistakes put in field by field, against a queue pair; and startup frames in the
 * same way. `RISER_FUZZ_SECONDS` gives it more time than the usual 2 s, `RISER_FUZZ_SEED` repeats one case.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  AtomicRequestHeader,
  ReadRequestHeader,
  TaggedHeader,
  UntaggedHeader,
} from '../../src/rdma/iwarp/headers.js';
import type { Message } from '../../src/rdma/iwarp/message.js';
import { MpaInitiator } from '../../src/rdma/iwarp/mpa/initiator.js';
import { MpaResponder } from '../../src/rdma/iwarp/mpa/responder.js';
import { encodeStream } from '../../src/rdma/iwarp/mpa/testing/fpdus.js';
import { Terminate } from '../../src/rdma/iwarp/terminate.js';
import { SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';
import { RiserError } from '../../src/util/errors.js';
import { fuzz } from '../support/fuzz-runs.js';
import { MemoryEnd } from '../support/memory-queue-pair.js';
import { WireStream } from '../support/memory-wire.js';
import { pattern } from '../support/pattern.js';
import { startupFrame } from '../support/raw-iwarp.js';
import {
  atomicRequest,
  atomicResponse,
  immediateData,
  readRequest,
  readResponse,
  tagged,
  terminateMessage,
  untagged,
} from '../support/ulpdus.js';

const BYTES = 60_000;
/** Where the peer may write: by region and window, by Sends, by responses, by atomic operations. */
const WRITABLE = {
  region: [1000, 20_000],
  window: [22_000, 100],
  first: [23_000, 300],
  second: [24_000, 300],
  read: [25_000, 200],
  original: [25_600, 8],
  atomic: [26_000, 80],
} as const;
const READABLE = [40_000, 5000] as const;

type Random = () => number;
const below = (random: Random, n: number): number => Math.floor(random() * n);

/** One of the values that are apt to be handled wrongly. */
function odd(random: Random, value: number, width: number): number {
  const most = 2 ** (8 * width);
  const values = [
    0,
    1,
    most - 1,
    most / 2,
    value + 1,
    value - 1 + most,
    (value ^ (1 << below(random, 8))) >>> 0,
  ];
  return random() < 0.3 ? below(random, most) : values[below(random, values.length)]! % most;
}

const HEADERS = [TaggedHeader, UntaggedHeader, ReadRequestHeader, AtomicRequestHeader];

/** Change one thing. */
function mutate(random: Random, ulpdus: Buffer[]): void {
  const i = below(random, ulpdus.length);
  const ulpdu = Buffer.from(ulpdus[i]!);
  ulpdus[i] = ulpdu;
  switch (below(random, 7)) {
    case 0:
      ulpdus.splice(i, 1);
      break;
    case 1:
      ulpdus.splice(below(random, ulpdus.length + 1), 0, ulpdu);
      break;
    case 2:
      ulpdus.push(...ulpdus.splice(i, 1));
      break;
    case 3:
      ulpdus[i] = ulpdu.subarray(0, below(random, ulpdu.length + 1));
      break;
    case 4:
      ulpdus[i] = Buffer.concat([ulpdu, pattern(1 + below(random, random() < 0.5 ? 4 : 400), i)]);
      break;
    default: {
      const fields = Object.values(HEADERS[below(random, HEADERS.length)]!);
      const { offset, width } = fields[below(random, fields.length)]!;
      if (offset + width > ulpdu.length) return;
      // The halves of 64 bits one by one.
      const at = width === 8 ? offset + 4 * below(random, 2) : offset;
      const part = Math.min(width, 4);
      ulpdu.writeUIntBE(odd(random, ulpdu.readUIntBE(at, part), part), at, part);
    }
  }
  if (ulpdus.length === 0) ulpdus.push(Buffer.alloc(0));
}

function fuzzQueuePair(random: Random): void {
  const end = new MemoryEnd(BYTES);
  pattern(BYTES, 4).copy(end.memory.bytes);
  const before = Buffer.from(end.memory.bytes);
  const register = ([at, length]: readonly [number, number], access: number) =>
    end.domain.registerMemory(new Memory(end.memory.bytes.subarray(at, at + length)), access);
  const written = register(WRITABLE.region, 3);
  const readable = register(READABLE, 4);
  const atomic = register(WRITABLE.atomic, 1 | 8);
  const whole = end.domain.registerMemory(end.memory, 1 | 16);
  const stream = new WireStream<Message>(random);
  const crc = random() < 0.3;
  const markers = random() < 0.2;
  end.receive(1, ...WRITABLE.first);
  end.receive(2, ...WRITABLE.second);
  end.receive(3, ...WRITABLE.second);
  end.connect(stream, { crc, receiveMarkers: markers });
  const window = end.domain.allocateWindow();
  const bind = new SendRequest();
  Object.assign(bind, { opcode: SendOpcode.BIND_WINDOW, window, bindRegion: whole, bindAccess: 2 });
  Object.assign(bind, { bindOffset: WRITABLE.window[0], bindLength: WRITABLE.window[1] });
  const read = new SendRequest();
  read.opcode = SendOpcode.RDMA_READ;
  read.sges.add(whole, ...WRITABLE.read);
  end.queuePair.postSend(bind);
  end.queuePair.postSend(read);
  const add = new SendRequest();
  add.opcode = SendOpcode.ATOMIC_FETCH_ADD;
  add.sges.add(whole, ...WRITABLE.original);
  end.queuePair.postSend(add);
  end.queuePair.flush();
  while (stream.leave());
  const sink = stream.travelling.readUInt32BE(2 + 18);
  // Behind the FPDU of the Read Request.
  const identifier = stream.travelling.readUInt32BE(52 + 2 + 22);

  const stag = written.remoteKey;
  const ulpdus = [
    Buffer.alloc(0),
    untagged({ payload: pattern(200, 1), last: false }),
    tagged({ stag, offset: 0, payload: pattern(1000, 2), last: false }),
    untagged({ messageOffset: 200, payload: pattern(100, 3) }),
    tagged({ stag, offset: 1000, payload: pattern(19_000, 4) }),
    readResponse({ stag: sink, offset: 0, payload: pattern(120, 5), last: false }),
    readRequest({ sourceStag: readable.remoteKey, sourceOffset: 10, length: 4000 }),
    tagged({ stag: window.remoteKey, offset: WRITABLE.window[0], payload: pattern(100, 6) }),
    readResponse({ stag: sink, offset: 120, payload: pattern(80, 7) }),
    readRequest({ number: 2, sourceStag: readable.remoteKey, sourceOffset: 0, length: 0 }),
    atomicRequest({
      number: 3,
      stag: atomic.remoteKey,
      offset: 8 * below(random, 10),
      operation: 2 * below(random, 2),
    }),
    untagged({ opcode: 6, number: 2, invalidate: window.remoteKey, payload: pattern(300, 8) }),
    atomicResponse({ identifier, original: 0x0102_0304_0506_0708n }),
    immediateData({ number: 3, data: 1n }),
  ];
  if (random() < 0.3) ulpdus.push(terminateMessage(Terminate.ACCESS, ulpdus[2]!));
  for (let n = below(random, 4); n > 0; n--) mutate(random, ulpdus);
  const bytes = encodeStream(ulpdus, { crc, markers });
  const isFlipped = random() < 0.3;
  if (isFlipped) bytes[below(random, bytes.length)]! ^= 1 << below(random, 8);

  for (let at = 0; at < bytes.length;) {
    const part = 1 + below(random, 2 ** below(random, 15));
    stream.arrive(bytes.subarray(at, at + part));
    at += part;
    if (random() < 0.5) stream.leave();
  }
  while (stream.leave());
  end.drain();
  const isTerminated = assertSane(end, stream, before);
  if (!isFlipped && !isTerminated && end.ended === undefined) {
    const grants = [
      { stag, opcode: 0, from: 0, length: WRITABLE.region[1] },
      { stag: window.remoteKey, opcode: 0, from: WRITABLE.window[0], length: WRITABLE.window[1] },
      { stag: readable.remoteKey, opcode: 1, from: 0, length: READABLE[1] },
      { stag: atomic.remoteKey, opcode: 10, from: 0, length: WRITABLE.atomic[1] },
    ];
    // What comes behind the peer's own Terminate is for nobody.
    const terminate = ulpdus.findIndex((ulpdu) => ulpdu.length > 1 && (ulpdu[1]! & 0x0f) === 7);
    for (const ulpdu of terminate === -1 ? ulpdus : ulpdus.slice(0, terminate)) assertGranted(ulpdu, grants);
  }
  stream.destroy(null);
  end.drain();
  assert.deepEqual(
    end.completions.map(({ id, opcode }) => (opcode >= 128 ? id : 0)).sort(),
    [0, 0, 0, 1, 2, 3],
    'each request completes once',
  );
  window.close();
  end.close(written, readable, atomic, whole);
}

interface Granted {
  stag: number;
  /** RDMAP's, of what it allows. */
  opcode: number;
  from: number;
  length: number;
}

/** What was taken without complaint: Writes, Read Requests and Sends that stay within what they may reach. */
function assertGranted(ulpdu: Buffer, grants: readonly Granted[]): void {
  if (ulpdu.length === 0) return;
  const opcode = ulpdu[1]! & 0x0f;
  if (opcode >= 3 && opcode <= 6) {
    const end = UntaggedHeader.messageOffset.get(ulpdu) + ulpdu.length - 18;
    assert.ok(end <= WRITABLE.first[1], `a Send up to ${end} is taken`);
    return;
  }
  const access = accessOf(opcode, ulpdu);
  if (access === null) return;
  const [stag, at, length] = access;
  const offset = ulpdu.readBigUInt64BE(at);
  if (length === 0) return;
  const grant = grants.find((one) => one.stag === stag && one.opcode === opcode);
  const what = `opcode ${opcode} of ${length} bytes at ${offset} is taken`;
  assert.ok(grant !== undefined, `${what}: by a wrong key`);
  assert.ok(offset >= grant.from && offset + BigInt(length) <= grant.from + grant.length, what);
}

/** The key, where the tagged offset is, and the bytes that are reached; null where there is nothing of that. */
function accessOf(opcode: number, ulpdu: Buffer): [number, number, number] | null {
  const { sourceStag, sourceTaggedOffset, readMessageSize } = ReadRequestHeader;
  const { remoteStag, remoteTaggedOffset } = AtomicRequestHeader;
  const { stag, taggedOffset } = TaggedHeader;
  if (opcode === 0) return [stag.get(ulpdu), taggedOffset.offset, ulpdu.length - 14];
  if (opcode === 1) return [sourceStag.get(ulpdu), sourceTaggedOffset.offset, readMessageSize.get(ulpdu)];
  if (opcode === 10) return [remoteStag.get(ulpdu), remoteTaggedOffset.offset, 8];
  return null;
}

/** Whether the connection was terminated by this side. */
function assertSane(
  { ended, memory, queuePair }: MemoryEnd,
  stream: WireStream<Message>,
  before: Buffer,
): boolean {
  // Any other error is a defect of ours that the peer's bytes brought to light.
  if (ended !== undefined && ended !== null) assert.ok(ended instanceof RiserError, String(ended));
  const ranges = Object.values(WRITABLE);
  memory.bytes.forEach((byte, at) => {
    if (byte === before[at] || ranges.some(([from, length]) => at >= from && at < from + length)) return;
    assert.fail(`byte ${at} outside of all grants has changed`);
  });
  // What was sent is whole FPDUs, and nothing comes behind a Terminate.
  const sent = stream.travelling;
  let at = 0;
  let isTerminated = false;
  while (at < sent.length) {
    assert.equal(isTerminated, false, 'something is sent behind a Terminate');
    const length = sent.readUInt16BE(at);
    isTerminated = length > 1 && (sent[at + 3]! & 0x0f) === 7;
    at += ((2 + length + 3) & ~3) + 4;
  }
  assert.equal(at, sent.length, 'an FPDU is not whole');
  if (isTerminated) assert.equal(queuePair.state, 2);
  return isTerminated;
}

/** A frame in which something is wrong, maybe, in portions. */
function fuzzStartup(random: Random): void {
  const initiator = new MpaInitiator({
    revision: random() < 0.8 ? 2 : 1,
    crc: false,
    markers: false,
    ird: 4,
    ord: 4,
    maxIrd: 9,
    peerToPeer: null,
  });
  const responder = new MpaResponder();
  const isReply = random() < 0.5;
  const machine = isReply ? initiator : responder;
  const peerToPeer = random() < 0.5 ? null : (['write', 'read'] as const);
  let frame = startupFrame(random() < 0.9 === isReply ? 'reply' : 'request', {
    enhanced: { ird: below(random, 0x4000), ord: below(random, 0x4000), peerToPeer },
    privateData: pattern(below(random, 100) & ~3, 1),
  });
  for (let n = below(random, 3); n > 0; n--) {
    const at = 16 + below(random, Math.min(8, frame.length - 16));
    frame[at] = odd(random, frame[at]!, 1);
  }
  if (random() < 0.2) frame = frame.subarray(0, below(random, frame.length));
  if (random() < 0.2) frame = Buffer.concat([frame, pattern(600, 2)]);
  let taken = 0;
  for (let at = 0; at < frame.length;) {
    const part = frame.subarray(at, at + 1 + below(random, 40));
    at += part.length;
    taken += machine.handleBytes(part);
    const isOver = isReply ? initiator.result !== null : responder.request !== null;
    assert.ok(!(isOver && machine.error !== null), 'both good and bad');
    if (machine.error !== null) assert.ok(machine.error instanceof RiserError, 'a RiserError');
    if (isOver || machine.error !== null) break;
  }
  assert.ok(taken <= 532, `${taken} bytes taken for a frame`);
  if (responder.request !== null) {
    const { reply, result } = responder.accept({ ird: 4, ord: 4, crc: false, markers: false });
    assert.ok(reply.length >= 20 && result.ord <= 4, 'a reply');
  }
}

describe('fuzzing iWARP', { timeout: 3_700_000 }, () => {
  it('FPDUs', () => {
    fuzz(2, fuzzQueuePair);
  });
  it('startup frames', () => {
    fuzz(0.5, fuzzStartup);
  });
});
