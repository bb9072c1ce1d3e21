/**
 * A whole session of Riser's initiator with Riser's target on a disk in memory, without a network, a timer or a promise: bytes move
 * when {@link MemorySession.run} is called, and a test may change them on their way.
 */

import { MemoryDevice } from '../../src/block/index.js';
import { acceptTcp, type DataTransfer } from '../../src/datamover/index.js';
import { InitiatorTcpDatamover } from '../../src/datamover/tcp/initiator-datamover.js';
import {
  InitiatorConnection,
  type InitiatorFullFeature,
  InitiatorTask,
  INITIATOR_OFFER,
  TargetConnection,
} from '../../src/iscsi/index.js';
import type { Offer } from '../../src/iscsi/login/offer.js';
import type { RecoveryOffer } from '../../src/iscsi/login/policy.js';
import { CopyManager } from '../../src/scsi/index.js';
import { FakeCopyHost } from '../../src/scsi/testing/fake-copies.js';
import { MemoryStream } from '../../src/stream/testing/memory-stream.js';
import { DEFAULT_LIMITS, Target } from '../../src/target/index.js';
import { Session } from '../../src/target/session.js';
import { silentLogger } from '../../src/util/logger.js';
import { BufferPool, Memory } from '../../src/util/memory.js';
import { LONE_TARGET } from './lone-target.js';
import { TARGET_NAME } from './target.js';

/** Bytes on their way, from byte `position` of what its end sends in the full feature phase; they may be changed in place. */
export type Tamper = (from: 'initiator' | 'target', bytes: Buffer, position: number) => void;

/** One end: what is flushed waits until it is taken. */
class WaitingStream extends MemoryStream<DataTransfer> {
  sent: Buffer[] = [];
  #isEnding = false;

  flush(): void {
    if (this.queue.count === 0) return;
    const all = Buffer.concat(this.queue.views(0));
    this.sent.push(all);
    this.queue.consume(all.length, this.released);
  }

  end(): void {
    this.flush();
    this.#isEnding = true;
  }

  arrive(bytes: Buffer): void {
    this.incoming = Buffer.concat([this.incoming, bytes]);
    let before = -1;
    while (!this.isClosed && this.incoming.length !== before && this.incoming.length > 0) {
      before = this.incoming.length;
      this.events.readable();
    }
  }

  /** Bytes for the other end; null when there are none. */
  take(): Buffer | null {
    const bytes = this.sent.shift() ?? null;
    if (bytes === null && this.#isEnding) this.destroy(null);
    return bytes;
  }
}

/** A task whose outcome stays in it. */
export class MemoryTask extends InitiatorTask {
  isDone = false;

  constructor(cdb: Uint8Array, data: Buffer, isWrite: boolean) {
    super();
    this.cdb.set(cdb);
    this.isWrite = isWrite && data.length > 0;
    this.isRead = !isWrite && data.length > 0;
    if (data.length > 0) this.buffer.add(new Memory(data), 0, data.length);
    this.deadline = Infinity;
  }

  done(): void {
    this.isDone = true;
  }
}

export class MemorySession {
  readonly phase: InitiatorFullFeature;
  /** Why each end's connection is over; undefined while it is not. */
  initiatorEnd: Error | null | undefined;
  targetEnd: Error | null | undefined;
  tamper: Tamper = () => undefined;
  readonly #initiator: InitiatorConnection;
  readonly #target: TargetConnection;
  readonly #streams = { initiator: new WaitingStream(), target: new WaitingStream() };
  readonly #positions = { initiator: 0, target: 0 };
  #session: Session | null = null;
  #now = 0;

  /** `offer`: of the initiator; `recovery`: what the target agrees on, and how much it receives in one PDU. */
  constructor(
    offer: Partial<Offer>,
    recovery: Partial<RecoveryOffer & Pick<Offer, 'targetMaxRecvDataSegmentLength'>>,
  ) {
    const copyManager = new CopyManager(new FakeCopyHost());
    const target = new Target({ name: TARGET_NAME }, copyManager, silentLogger, () => undefined);
    target.addLun(0, { device: new MemoryDevice({ size: 1 << 20, blockSize: 512 }) });
    const directory = { sendTargets: () => null };
    this.#target = new TargetConnection(
      {
        ...LONE_TARGET,
        findTarget: (name) => ({ name, portalGroupTag: 1, alias: null, recovery }),
        authenticator: null,
        limits: DEFAULT_LIMITS,
        log: silentLogger,
        sessionOpened: (connection, login) => {
          this.#session = new Session({
            connection,
            login,
            nexusKey: 'lone',
            target,
            view: null,
            directory,
            buffers: new BufferPool(64 << 20),
            log: silentLogger,
            transport: 'tcp',
            endSessionsOf: () => undefined,
            elsewhere: () => [],
          });
          this.#session.open();
          return this.#session;
        },
        connectionClosed: (_connection, error) => {
          this.targetEnd = error;
          this.#session?.close();
        },
      },
      'memory',
      '127.0.0.1',
      0,
      () => undefined,
    );
    const begun: InitiatorFullFeature[] = [];
    this.#initiator = new InitiatorConnection(
      {
        loggedIn: (phase) => {
          begun.push(phase);
        },
        connectionClosed: (reason) => {
          this.initiatorEnd = reason;
        },
        asyncNotice: () => undefined,
        remark: () => undefined,
      },
      {
        initiatorName: 'iqn.2026-01.example.test:initiator',
        targetName: TARGET_NAME,
        isid: Buffer.from('800000000001', 'hex'),
        initialCmdSN: 1,
        offer: { ...INITIATOR_OFFER, ...offer },
      },
      {
        loginTimeoutMs: 15_000,
        keepaliveIntervalMs: 5000,
        keepaliveTimeoutMs: 5000,
        answerTimeoutMs: 15_000,
      },
      0,
    );
    this.#target.attach(acceptTcp(this.#streams.target, this.#target));
    this.#initiator.start(new InitiatorTcpDatamover(this.#streams.initiator, this.#initiator));
    this.run();
    if (begun.length !== 1) throw new Error('the login has failed');
    this.phase = begun[0]!;
    this.#positions.initiator = 0;
    this.#positions.target = 0;
  }

  /** Bytes that an end has sent in the full feature phase. */
  sent(from: 'initiator' | 'target'): number {
    return this.#positions[from];
  }

  /** Until nothing moves any more. */
  run(): void {
    while (this.#carry('initiator', 'target') || this.#carry('target', 'initiator'));
  }

  #carry(from: 'initiator' | 'target', to: 'initiator' | 'target'): boolean {
    const bytes = this.#streams[from].take();
    if (bytes === null) {
      if (this.#streams[from].isClosed) this.#streams[to].destroy(null);
      return false;
    }
    this.tamper(from, bytes, this.#positions[from]);
    this.#positions[from] += bytes.length;
    if (!this.#streams[to].isClosed) this.#streams[to].arrive(bytes);
    return true;
  }

  /** Let time pass in steps of a second. */
  pass(seconds: number): void {
    for (let i = 0; i < seconds; i++) {
      this.#now += 1000;
      this.#target.tick(this.#now);
      this.#initiator.tick(this.#now);
      this.run();
    }
  }

  /** Submit a task, and run. */
  execute(cdb: Uint8Array, data: Buffer, isWrite: boolean): MemoryTask {
    const task = new MemoryTask(cdb, data, isWrite);
    this.phase.submit(task);
    this.phase.flush();
    this.run();
    return task;
  }
}
