/**
 * A victim for attacks on software iWARP: one end on a device, reached by a {@link RawIwarp}, with a good connection on
 * the same device beside it. What has to be so afterwards, whatever was sent, is checked by `close`.
 */

import assert from 'node:assert/strict';
import { IwarpDevice, type IwarpOptions } from '../../src/rdma/iwarp/device.js';
import type { StartupFrame } from '../../src/rdma/iwarp/mpa/frames.js';
import type { IwarpProtectionDomain } from '../../src/rdma/iwarp/protection-domain.js';
import type { TerminateReason } from '../../src/rdma/iwarp/terminate.js';
import {
  AccessFlag,
  type ConnectionParameters,
  type MemoryRegion,
  type MemoryWindow,
  QueuePairState,
  type RdmaListener,
} from '../../src/rdma/verbs.js';
import { CompletionOpcode, CompletionStatus, SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';
import { pattern } from './pattern.js';
import { RawIwarp } from './raw-iwarp.js';
import { terminateMessage } from './ulpdus.js';
import { End, MEMORY_BYTES, Pair } from './verbs-pair.js';

export const REMOTE_READ = AccessFlag.REMOTE_READ;
export const REMOTE_WRITE = AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_WRITE;

/** A device with a good connection on it, for as many scenes as there are. */
export class Stage {
  readonly device: IwarpDevice;
  readonly #others: IwarpDevice;
  #good!: Pair;
  #rounds = 0;

  private constructor(options: IwarpOptions) {
    this.device = new IwarpDevice(options);
    this.#others = new IwarpDevice();
  }

  static async set(options: IwarpOptions = {}): Promise<Stage> {
    const stage = new Stage(options);
    stage.#good = await Pair.connect([stage.#others, stage.device], '127.0.0.1', {
      active: { queuePair: { maxSendRequests: 8, maxReceiveRequests: 8 } },
      passive: { queuePair: { maxSendRequests: 8, maxReceiveRequests: 8 } },
    });
    return stage;
  }

  /** Keys on the device without those of any scene. */
  get keys(): number {
    return (this.#good.passive.domain as IwarpProtectionDomain).keys.count;
  }

  /** The good connection sends, writes and reads. */
  async assertUndisturbed(): Promise<void> {
    const { active, passive } = this.#good;
    const at = (this.#rounds++ % 16) * 10_000;
    pattern(10_000, this.#rounds).copy(active.memory.bytes, at);
    passive.receive(1, 500_000, 10_000);
    active.post(
      active.remote(SendOpcode.RDMA_WRITE, 1, at, 10_000, passive, at),
      active.remote(SendOpcode.RDMA_READ, 2, 300_000, 10_000, passive, at),
      active.request(SendOpcode.SEND, 3, at, 10_000),
    );
    await active.completed(3);
    await passive.completed(1);
    for (const end of [active, passive]) {
      assert.ok(end.completions.every(({ status }) => status === CompletionStatus.SUCCESS));
      end.completions.length = 0;
    }
    const sent = active.memory.bytes.subarray(at, at + 10_000);
    assert.ok(sent.equals(passive.memory.bytes.subarray(at, at + 10_000)));
    assert.ok(sent.equals(passive.memory.bytes.subarray(500_000, 510_000)));
    assert.ok(sent.equals(active.memory.bytes.subarray(300_000, 310_000)));
    assert.equal(active.ended, undefined);
    assert.equal(passive.ended, undefined);
  }

  async close(): Promise<void> {
    await this.#good.close();
    assert.equal(this.keys, 0, 'keys are left');
    // Neither closes with something of it in use.
    await this.device.close();
    await this.#others.close();
  }
}

export interface SceneOptions {
  request?: Partial<StartupFrame>;
  accept?: ConnectionParameters;
  /** The peer has not sent its first FPDU. */
  isMute?: boolean;
  /** Both victims are in one protection domain. */
  beside?: Scene;
}

/** How the victim's side of a terminated connection looks. */
export interface Ending {
  /** The Read Request's own header is quoted, too. */
  withRead?: boolean;
  /** Statuses of receives by their id; the others are flushed. */
  receives?: Record<number, number>;
  /** Completions of its send queue, and of receives that the test has posted. */
  others?: [id: number, status: number][];
  /** Of the error that it is told. Default: `RDMA_VIOLATION`. */
  code?: string;
}

/** Ids, offsets and lengths of the receives that are posted at first. */
export const RECEIVES = [
  [101, 900_000, 100],
  [102, 901_000, 100],
] as const;

export class Scene {
  readonly stage: Stage;
  readonly victim: End;
  readonly raw: RawIwarp;
  /** What the victim's memory has to be. */
  readonly expected: Buffer;
  readonly #listener: RdmaListener;
  readonly #granted: MemoryRegion[] = [];
  readonly #windows: MemoryWindow[] = [];
  readonly #keysBefore: number;

  private constructor(stage: Stage, keysBefore: number, victim: End, raw: RawIwarp, listener: RdmaListener) {
    this.stage = stage;
    this.#keysBefore = keysBefore;
    this.victim = victim;
    this.raw = raw;
    this.#listener = listener;
    this.expected = Buffer.from(victim.memory.bytes);
  }

  static async open(stage: Stage, options: SceneOptions = {}): Promise<Scene> {
    const keysBefore = stage.keys;
    const victim = new End(stage.device, {
      access: AccessFlag.LOCAL_WRITE | AccessFlag.WINDOW_BIND,
      ...(options.beside === undefined ? {} : { domain: options.beside.victim.domain }),
    });
    pattern(MEMORY_BYTES, 3).copy(victim.memory.bytes);
    let accepted = Promise.resolve();
    const listener = await stage.device.listen(
      { address: '127.0.0.1', port: 0 },
      {
        requested: (request) => {
          victim.attach(request);
          for (const [id, offset, length] of RECEIVES) victim.receive(id, offset, length);
          accepted = request.accept(options.accept);
        },
      },
    );
    const raw = await RawIwarp.connect(listener.port, options.request);
    await accepted;
    const scene = new Scene(stage, keysBefore, victim, raw, listener);
    if (options.isMute !== true) raw.send(Buffer.alloc(0));
    return scene;
  }

  /** Let the peer reach a part of the victim's memory, and nothing around it. Its offsets count from 0. */
  grant(offset: number, length: number, access: number, domain = this.victim.domain): MemoryRegion {
    const part = new Memory(this.victim.memory.bytes.subarray(offset, offset + length));
    const region = domain.registerMemory(part, access);
    this.#granted.push(region);
    return region;
  }

  /** The same by a window, bound to the queue pair of `end`. Its offsets are those of the region. */
  async bind(offset: number, length: number, access: number, end = this.victim): Promise<MemoryWindow> {
    const window = end.domain.allocateWindow();
    this.#windows.push(window);
    const request = new SendRequest();
    Object.assign(request, { id: 7, opcode: SendOpcode.BIND_WINDOW, window, bindRegion: end.region });
    Object.assign(request, { bindOffset: offset, bindLength: length, bindAccess: access });
    const before = end.drain().length;
    end.post(request);
    await end.completed(before + 1);
    const [completion] = end.completions.splice(before, 1);
    assert.equal(completion!.status, CompletionStatus.SUCCESS);
    return window;
  }

  invalidate(key: number): void {
    const request = new SendRequest();
    Object.assign(request, { id: 8, opcode: SendOpcode.LOCAL_INVALIDATE, invalidateKey: key });
    this.victim.post(request);
  }

  /** Send these; the last is wrong, and `reason` what it earns. It is quoted, if nothing else is said. */
  async attack(
    reason: TerminateReason,
    ulpdus: Buffer[],
    { isQuoted = true, ...ending }: Ending & { isQuoted?: boolean } = {},
  ): Promise<void> {
    this.raw.send(...ulpdus);
    await this.assertTerminated(reason, isQuoted ? ulpdus.at(-1)! : null, ending);
  }

  /**
   * The victim answers with exactly this Terminate as the last that it sends, and its work ends: each receive with the
   * status given by its id, or flushed.
   */
  async assertTerminated(
    reason: Omit<TerminateReason, 'text'>,
    quoted: Buffer | null,
    { withRead = false, receives = {}, others = [], code = 'RDMA_VIOLATION' }: Ending = {},
  ): Promise<void> {
    await this.raw.ended();
    const last = this.raw.ulpdus.at(-1);
    assert.ok(last !== undefined, 'no Terminate came');
    assert.equal(last.toString('hex'), terminateMessage(reason, quoted, withRead).toString('hex'));
    this.raw.socket.end();
    await this.assertEnded(code, receives, others);
  }

  /** The victim's end of it is over: it was told why, and all its work is. */
  async assertEnded(
    code: string | null,
    receives: Record<number, number> = {},
    others: [id: number, status: number][] = [],
  ): Promise<void> {
    const { victim } = this;
    const error = (await victim.disconnected()) as { code?: string } | null;
    if (code === null) assert.equal(error, null);
    else assert.match(error?.code ?? '', new RegExp(code));
    assert.equal(victim.queuePair.state, QueuePairState.ERROR);
    const completed = victim.drain();
    const got = completed.filter(({ id }) => id > 100).map(({ id, status }) => [id, status]);
    assert.deepEqual(
      got,
      RECEIVES.map(([id]) => [id, receives[id] ?? CompletionStatus.FLUSH_ERROR]),
    );
    for (const { opcode, status, id } of completed)
      if (status === CompletionStatus.SUCCESS && id > 100) assert.equal(opcode, CompletionOpcode.RECEIVE);
    const own = completed.filter(({ id }) => id <= 100).map(({ id, status }) => [id, status]);
    assert.deepEqual(own, others);
    assert.equal(victim.queuePair.sendRoom, 32, 'room in the send queue is lost');
  }

  assertMemory(bytes = this.victim.memory.bytes): void {
    if (bytes.equals(this.expected)) return;
    const at = bytes.findIndex((byte, i) => byte !== this.expected[i]);
    assert.fail(`byte ${at} of the victim's memory has changed`);
  }

  /** Nothing else was touched, the good connection works, and nothing is left. */
  async close(): Promise<void> {
    const found = Buffer.from(this.victim.memory.bytes);
    this.raw.destroy();
    for (const window of this.#windows) window.close();
    for (const region of this.#granted) region.deregister();
    await this.#listener.close();
    // Throws if the queues or the domain count users that are gone.
    this.victim.close();
    this.assertMemory(found);
    assert.equal(this.stage.keys, this.#keysBefore, 'keys are left');
    await this.stage.assertUndisturbed();
  }
}
