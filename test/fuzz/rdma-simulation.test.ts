/**
 * Two queue pairs joined by a network in memory, with random work both ways and a model of what has to come of it. There
 * is no clock in it at all: the order of events is the seed's. `RISER_FUZZ_SECONDS` gives it more time than the
 * usual 2 s, `RISER_FUZZ_SEED` repeats one run.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Message } from '../../src/rdma/iwarp/message.js';
import type { IwarpMemoryRegion, IwarpMemoryWindow } from '../../src/rdma/iwarp/protection-domain.js';
import { AccessFlag } from '../../src/rdma/verbs.js';
import {
  CompletionFlag,
  CompletionOpcode,
  CompletionStatus,
  SendFlag,
  SendOpcode,
  SendRequest,
} from '../../src/rdma/work.js';
import { fuzz } from '../support/fuzz-runs.js';
import { DEPTH, MemoryEnd } from '../support/memory-queue-pair.js';
import { Wire } from '../support/memory-wire.js';
import { pattern } from '../support/pattern.js';

const BYTES = 600_000;
const RECEIVE_BYTES = 3000;
const { SUCCESS, FLUSH_ERROR } = CompletionStatus;
const { REMOTE_READ, REMOTE_WRITE, WINDOW_BIND, LOCAL_WRITE } = AccessFlag;

/** One end, and what the model knows of it. */
class Side {
  readonly end = new MemoryEnd(BYTES);
  readonly region: IwarpMemoryRegion;
  /** What its memory will be when all work is done. */
  readonly model: Buffer;
  /** Ids of signaled work in order, and whether an unsignaled one is behind the last of them. */
  readonly signaled: number[] = [];
  readonly received: { length: number; invalidated: number }[] = [];
  /** Receives that are posted and that no send of the peer's has taken. */
  credits = 0;
  /** A window that the peer may use; by now bound. */
  window: { window: IwarpMemoryWindow; key: number; at: number; length: number } | null = null;
  readonly windows: IwarpMemoryWindow[] = [];
  posted = 0;
  #free = 0;

  constructor(seed: number) {
    pattern(BYTES, seed).copy(this.end.memory.bytes);
    this.model = Buffer.from(this.end.memory.bytes);
    this.region = this.end.domain.registerMemory(
      this.end.memory,
      LOCAL_WRITE | REMOTE_WRITE | REMOTE_READ | WINDOW_BIND,
    );
  }

  /** Bytes that nothing else uses, with a gap before the next; -1 when there are none left. */
  slot(length: number): number {
    const at = this.#free;
    if (at + length + 16 > BYTES) return -1;
    this.#free += length + 16;
    return at;
  }

  postReceives(): void {
    while (this.credits < 8) {
      const at = this.slot(RECEIVE_BYTES);
      if (at < 0) return;
      this.receiveSlots.push(at);
      this.end.receive(1_000_000 + this.receiveSlots.length - 1, at, RECEIVE_BYTES);
      this.credits++;
    }
  }
  readonly receiveSlots: number[] = [];
}

class Simulation {
  readonly wire: Wire<Message>;
  readonly sides: readonly [Side, Side];
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
    this.wire = new Wire(random);
    this.sides = [new Side(1), new Side(2)];
    const crc = random() < 0.5;
    const markers = [random() < 0.3, random() < 0.3] as const;
    const maxUlpdu = random() < 0.5 ? 64_768 : 128 + this.#below(1400);
    for (const i of [0, 1] as const) {
      this.sides[i].postReceives();
      this.sides[i].end.connect(this.wire.ends[i], {
        crc,
        sendMarkers: markers[i],
        receiveMarkers: markers[1 - i]!,
        maxUlpdu,
        initiatorDepth: 1 + (maxUlpdu % 4),
        responderResources: 4,
        mustWait: i === 1,
      });
    }
    this.sides[0].end.queuePair.sendReady(random() < 0.5 ? 'fpdu' : 'write');
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i++) {
      if (this.#random() < 0.3) this.#work(this.#below(2));
      else this.wire.step();
      if (this.#random() < 0.2) for (const side of this.sides) side.end.drain();
      for (const side of this.sides) assert.equal(side.end.ended, undefined, String(side.end.ended));
    }
  }

  /** Something signaled behind all the rest, which gives back all room. */
  finish(): void {
    for (const side of this.sides) {
      const request = new SendRequest();
      Object.assign(request, { id: side.posted++, opcode: SendOpcode.RDMA_WRITE });
      side.signaled.push(request.id);
      side.end.queuePair.postSend(request);
      side.end.queuePair.flush();
    }
    this.settle();
  }

  /** Until nothing happens any more. */
  settle(): void {
    for (let i = 0; this.wire.step(); i++) {
      assert.ok(i < 100_000, 'it does not come to rest');
      if (i % 16 === 0) for (const side of this.sides) side.end.drain();
    }
    for (const side of this.sides) side.end.drain();
  }

  /** Something new on one side. */
  #work(i: number): void {
    const side = this.sides[i]!;
    const peer = this.sides[1 - i]!;
    side.end.drain();
    side.postReceives();
    const { queuePair } = side.end;
    if (queuePair.sendRoom < 4) return;
    const request = new SendRequest();
    request.id = side.posted;
    request.flags = this.#random() < 0.7 || queuePair.sendRoom < DEPTH / 2 ? SendFlag.SIGNALED : 0;
    if (this.#random() < 0.1) request.flags |= SendFlag.FENCE;
    const kind = this.#below(10);
    const length = kind < 3 ? this.#below(RECEIVE_BYTES) : this.#below(this.#random() < 0.2 ? 90_000 : 5000);
    if (kind < 3) {
      if (!this.#send(side, peer, request, length)) return;
    } else if (kind < 8) {
      if (!this.#transfer(side, peer, request, length, kind < 6)) return;
    } else if (!this.#window(side, request)) return;
    queuePair.postSend(request);
    side.posted++;
    if ((request.flags & SendFlag.SIGNALED) !== 0) side.signaled.push(request.id);
    if (this.#random() < 0.7) queuePair.flush();
  }

  /** A list of up to three parts that holds `length` bytes in all; where they lie in order. */
  #parts(side: Side, request: SendRequest, length: number): number[] | null {
    const count = Math.min(1 + this.#below(3), Math.max(1, length));
    const at: number[] = [];
    let left = length;
    for (let part = count; part > 0; part--) {
      const size = part === 1 ? left : this.#below(left + 1);
      const slot = side.slot(size);
      if (slot < 0) return null;
      request.sges.add(side.region, slot, size);
      for (let k = 0; k < size; k++) at.push(slot + k);
      left -= size;
    }
    return at;
  }

  #send(side: Side, peer: Side, request: SendRequest, length: number): boolean {
    if (peer.credits === 0) return false;
    const parts = this.#parts(side, request, length);
    if (parts === null) return false;
    let invalidated = 0;
    request.opcode = SendOpcode.SEND;
    if (peer.window !== null && this.#random() < 0.5) {
      request.opcode = SendOpcode.SEND_WITH_INVALIDATE;
      // Reads by way of the window have to be over.
      request.flags |= SendFlag.FENCE;
      request.invalidateKey = invalidated = peer.window.key;
      peer.window = null;
    }
    if (this.#random() < 0.3) request.flags |= SendFlag.SOLICITED;
    peer.credits--;
    const at = peer.receiveSlots[peer.received.length]!;
    parts.forEach((from, k) => (peer.model[at + k] = side.model[from]!));
    peer.received.push({ length, invalidated });
    return true;
  }

  #transfer(side: Side, peer: Side, request: SendRequest, length: number, isWrite: boolean): boolean {
    const { window } = peer;
    const viaWindow = window !== null && window.length > 0 && this.#random() < 0.5;
    if (viaWindow) length = Math.min(length, window.length);
    const parts = this.#parts(side, request, length);
    const at = viaWindow ? window.at : peer.slot(length);
    if (parts === null || at < 0) return false;
    if (viaWindow) {
      // Each byte of a window is used once.
      window.at += length;
      window.length -= length;
    }
    request.opcode = isWrite ? SendOpcode.RDMA_WRITE : SendOpcode.RDMA_READ;
    request.remoteKey = viaWindow ? window.key : peer.region.remoteKey;
    request.setRemoteAddress(peer.region.address + at);
    parts.forEach((own, k) => {
      if (isWrite) peer.model[at + k] = side.model[own]!;
      else side.model[own] = peer.model[at + k]!;
    });
    return true;
  }

  /** Bind a window that the peer learns of when it is bound, which needs no round trip in this model: it is at once. */
  #window(side: Side, request: SendRequest): boolean {
    if (side.window !== null || side.windows.length > 20) return false;
    const length = this.#below(8000);
    const at = side.slot(length);
    if (at < 0) return false;
    const window = side.end.domain.allocateWindow();
    Object.assign(request, { opcode: SendOpcode.BIND_WINDOW, window, bindRegion: side.region });
    Object.assign(request, { bindOffset: at, bindLength: length, bindAccess: REMOTE_READ | REMOTE_WRITE });
    request.flags = SendFlag.SIGNALED;
    side.windows.push(window);
    const { id } = request;
    const isBound = (): boolean => side.end.drain().some((completion) => completion.id === id);
    side.end.queuePair.postSend(request);
    side.posted++;
    side.signaled.push(id);
    side.end.queuePair.flush();
    for (let i = 0; i < 20_000 && !isBound(); i++) if (!this.wire.step()) break;
    assert.ok(isBound(), 'a window is not bound though nothing else happens');
    side.window = { window, key: window.remoteKey, at, length };
    return false;
  }

  /** All work is done, in order, with success, and memory is as the model says. */
  assertDone(): void {
    for (const { end, signaled, received, model } of this.sides) {
      const sends = end.completions.filter(({ opcode }) => opcode !== CompletionOpcode.RECEIVE);
      assert.deepEqual(
        sends.map(({ id, status }) => [id, status]),
        signaled.map((id) => [id, SUCCESS]),
      );
      const receives = end.completions.filter(({ opcode }) => opcode === CompletionOpcode.RECEIVE);
      assert.deepEqual(
        receives.map(({ id, status, byteLength, flags, invalidatedKey }) => ({
          id,
          status,
          byteLength,
          invalidated: (flags & CompletionFlag.WITH_INVALIDATE) === 0 ? 0 : invalidatedKey,
        })),
        received.map(({ length, invalidated }, k) => ({
          id: 1_000_000 + k,
          status: SUCCESS,
          byteLength: length,
          invalidated,
        })),
      );
      if (!end.memory.bytes.equals(model)) {
        const at = end.memory.bytes.findIndex((byte, k) => byte !== model[k]);
        assert.fail(`memory is wrong from byte ${at} on`);
      }
    }
  }

  /** Cut off in the midst: memory is old or new byte by byte, and completions are in order, none missing. */
  assertCutOff(before: readonly Buffer[]): void {
    this.sides.forEach(({ end, model, signaled }, i) => {
      end.memory.bytes.forEach((byte, k) => {
        if (byte !== model[k] && byte !== before[i]![k]) assert.fail(`byte ${k} is neither old nor new`);
      });
      const sends = end.completions.filter(({ id }) => id < 1_000_000);
      const failed = sends.findIndex(({ status }) => status !== SUCCESS);
      const ended = failed < 0 ? [] : sends.slice(failed);
      assert.deepEqual(
        ended.map(({ status }) => status),
        ended.map(() => FLUSH_ERROR),
      );
      // Unsignaled work that fails has a completion, too.
      const ids = sends.map(({ id }) => id);
      assert.deepEqual(
        ids,
        [...new Set(ids)].sort((a, b) => a - b),
        'out of order',
      );
      for (const id of signaled) assert.ok(ids.includes(id), `work ${id} never completed`);
    });
  }

  close(): void {
    for (const { end, region, windows } of this.sides) {
      for (const window of windows) window.close();
      end.close(region);
    }
  }
}

describe('simulated pairs', { timeout: 3_700_000 }, () => {
  it('do all their work, and part in good order', () => {
    fuzz(2, (random) => {
      const simulation = new Simulation(random);
      simulation.run(400);
      simulation.finish();
      simulation.assertDone();
      for (const side of simulation.sides) side.end.completions.length = 0;
      simulation.sides[random() < 0.5 ? 0 : 1].end.queuePair.disconnect();
      simulation.settle();
      for (const { end } of simulation.sides) assert.equal(end.ended, null);
      simulation.close();
    });
  });

  it('are cut off in the midst', () => {
    fuzz(2, (random) => {
      const simulation = new Simulation(random);
      const before = simulation.sides.map(({ end }) => Buffer.from(end.memory.bytes));
      simulation.run(Math.floor(300 * random()));
      simulation.wire.ends[random() < 0.5 ? 0 : 1].destroy(null);
      simulation.settle();
      simulation.assertCutOff(before);
      for (const { end } of simulation.sides) end.keepsRoom = true;
      simulation.close();
    });
  });
});
