/** Queue pairs of software iWARP without a device and without sockets. */

import assert from 'node:assert/strict';
import { IwarpCompletionQueue } from '../../src/rdma/iwarp/completion-queue.js';
import { KeyTable } from '../../src/rdma/iwarp/keys.js';
import type { Message } from '../../src/rdma/iwarp/message.js';
import { Notifier } from '../../src/rdma/notifier.js';
import { IwarpProtectionDomain } from '../../src/rdma/iwarp/protection-domain.js';
import { IwarpQueuePair, type StreamParameters } from '../../src/rdma/iwarp/queue-pair.js';
import { completionRecords, ReceiveRequest, WorkCompletion } from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';
import type { WireStream } from './memory-wire.js';

export const DEPTH = 24;

/** A queue pair with memory, keys and a completion queue of its own. */
export class MemoryEnd {
  readonly keys = new KeyTable();
  readonly domain = new IwarpProtectionDomain(this.keys);
  readonly memory: Memory;
  readonly queue: IwarpCompletionQueue;
  readonly queuePair: IwarpQueuePair;
  readonly completions: WorkCompletion[] = [];
  /** Undefined while connected. */
  ended: Error | null | undefined;
  /** Its last work was unsignaled, and so keeps its room. */
  keepsRoom = false;
  readonly #soon: (() => void)[] = [];
  readonly #records = completionRecords(5);

  constructor(bytes: number) {
    this.memory = Memory.allocate(bytes);
    const notifier = new Notifier((run) => this.#soon.push(run));
    this.queue = new IwarpCompletionQueue(8 * DEPTH, { completed: () => undefined }, notifier);
    this.queuePair = new IwarpQueuePair(
      1,
      this.domain,
      {
        sendQueue: this.queue,
        receiveQueue: this.queue,
        maxSendRequests: DEPTH,
        maxReceiveRequests: DEPTH,
        maxSges: 3,
      },
      {
        disconnected: (error) => {
          assert.equal(this.ended, undefined, 'disconnected is told once');
          this.ended = error;
        },
      },
      notifier,
    );
  }

  connect(stream: WireStream<Message>, parameters: Partial<StreamParameters> = {}): void {
    this.queuePair.connected(stream, {
      crc: false,
      sendMarkers: false,
      receiveMarkers: false,
      initiatorDepth: 4,
      responderResources: 4,
      mustWait: false,
      maxUlpdu: 64_768,
      ...parameters,
    });
  }

  receive(id: number, offset: number, length: number): void {
    const request = new ReceiveRequest();
    request.id = id;
    const region = this.domain.registerMemory(
      new Memory(this.memory.bytes.subarray(offset, offset + length)),
      1,
    );
    request.sges.add(region, 0, length);
    this.queuePair.postReceive(request);
    this.#receiving.push(region);
  }

  readonly #receiving: { deregister(): void }[] = [];

  /** What came; what listeners are told of is told. */
  drain(): WorkCompletion[] {
    for (const run of this.#soon.splice(0)) run();
    for (let n; (n = this.queue.poll(this.#records)) > 0;)
      for (let i = 0; i < n; i++)
        this.completions.push(Object.assign(new WorkCompletion(), this.#records[i]));
    return this.completions;
  }

  /** Closes everything; nothing may be left of it. */
  close(...regions: { deregister(): void }[]): void {
    this.queuePair.close();
    this.drain();
    assert.notEqual(this.ended, undefined, 'the end is not told');
    for (const region of [...regions, ...this.#receiving]) region.deregister();
    if (!this.keepsRoom) assert.equal(this.queuePair.sendRoom, DEPTH, 'room in the send queue is lost');
    assert.equal(this.keys.count, 0, 'keys are left');
    assert.equal(this.keys.placements.count, 0, 'a placement is left');
    assert.equal(this.domain.users, 0, 'the domain counts users that are gone');
    assert.equal(this.queue.users.size, 0, 'the completion queue counts users that are gone');
  }
}
