/**
 * A disk that an NBD server exports.
 *
 * When connections are lost, new ones are made and everything that was not answered is asked again: a read
 * or write at a fixed place may be done twice. That has a limit in time, {@link NbdDeviceOptions.patience};
 * then operations fail NOT_READY, at once while the server stays away, until it is back. A server that breaks
 * the protocol is not asked again: the device is NOT_READY for good.
 *
 * As with any disk that has a volatile cache, what was not flushed may be lost when the server dies, and
 * nobody can tell a server that died from a network that was away.
 */

import { refused } from '../../block/admission.js';
import {
  BlockIo,
  BlockOp,
  BlockStatus,
  type BlockDevice,
  type BlockDeviceEvents,
} from '../../block/device.js';
import { RiserError } from '../../util/errors.js';
import { silentLogger, type Logger } from '../../util/logger.js';
import { formatNbdUri, parseNbdUri, type NbdUri } from '../uri.js';
import { TransmissionFlag } from '../wire.js';
import { connect } from './connect.js';
import type { ClientConnection } from './connection.js';
import type { Export } from './handshake.js';
import { Lanes, PartQueue } from './lanes.js';
import { causeOf, changesMedium, Operation, Part, statusOf } from './part.js';

export interface NbdDeviceOptions {
  /** 512 or 4096 bytes; default: 512, or 4096 where the server takes nothing less. */
  blockSize?: number;
  /** Refuse writes, even if the server would take them. */
  readOnly?: boolean;
  /** True (default): UNMAP makes holes and EXTENTS tells them, where the server can. False: all counts as mapped. */
  thin?: boolean;
  /** Connections to a server that allows several; default 4. */
  connections?: number;
  /** Milliseconds for a connection to be made; default 10 000. */
  connectTimeout?: number;
  /** Milliseconds for an answer, after which the connection counts as lost; default 30 000. */
  replyTimeout?: number;
  /** Milliseconds for an operation, whatever becomes of connections meanwhile; default 60 000. */
  patience?: number;
  log?: Logger;
}

/**
 * A disk behind `nbd://` or `nbd+unix://`.
 *
 * @example
 * const disk = await NbdDevice.open('nbd+unix:///?socket=/run/qemu-nbd.sock');
 */
export class NbdDevice implements BlockDevice {
  readonly description: string;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly unmapGranularity: number;
  /** What was agreed on at first, and every later connection has to offer as well. */
  readonly export: Export;
  events: BlockDeviceEvents | null = null;
  readonly #uri: NbdUri;
  readonly #log: Logger;
  readonly #connectTimeout: number;
  readonly #replyTimeout: number;
  readonly #patience: number;
  readonly #tellsHoles: boolean;
  readonly #lanes: Lanes;
  readonly #waiting = new PartQueue();
  readonly #idleParts: Part[] = [];
  readonly #idleOperations: Operation[] = [];
  readonly #watch: NodeJS.Timeout;
  #operations = 0;
  #size: number;
  /** The size that the server told, not yet rounded. */
  #exportSize: number;
  /** Whether anything has changed that was not flushed. */
  #isDirty = false;
  /** When the last connection was lost; null while there is one. */
  #lostAt: number | null = null;
  #lastError: Error | null = null;
  /** Why the device will never be ready again. */
  #broken: Error | null = null;
  #closing: Promise<void> | null = null;
  #refreshing: Promise<void> | null = null;
  #onIdle: (() => void) | null = null;

  /**
   * Connect to the server that `uri` names.
   *
   * Throws RiserError `NBD_URI`, `NBD_UNREACHABLE`, `NBD_TIMEOUT`, `NBD_REFUSED`, `NBD_PROTOCOL`,
   * `NBD_BLOCK_SIZE` (the server's blocks are larger than the disk's), `NBD_EMPTY` (not one whole block).
   */
  static async open(uri: string, options: NbdDeviceOptions = {}): Promise<NbdDevice> {
    const parsed = parseNbdUri(uri);
    let device: NbdDevice | null = null;
    const events = {
      answered: (connection: ClientConnection, part: Part) => device?.answered(connection, part),
      lost: (connection: ClientConnection, error: Error) => device?.lost(connection, error),
    };
    try {
      const first = await connect({
        ...parsed,
        timeout: options.connectTimeout ?? 10_000,
        accept: (found) => chooseBlockSize(found, options.blockSize),
        events,
      });
      return (device = new NbdDevice(parsed, first, options));
    } catch (error) {
      throw explain(uri, error as Error);
    }
  }

  private constructor(uri: NbdUri, first: ClientConnection, options: NbdDeviceOptions) {
    const found = first.export;
    this.export = found;
    this.#uri = uri;
    this.description = formatNbdUri(uri);
    this.blockSize = chooseBlockSize(found, options.blockSize);
    this.readOnly = options.readOnly === true || hasAll(found, TransmissionFlag.READ_ONLY);
    const knowsHoles = options.thin !== false && found.allocationContext !== null;
    // A server without TRIM makes no holes, even if it knows the command that we would make them with.
    const canUnmap = hasAll(found, TransmissionFlag.SEND_WRITE_ZEROES | TransmissionFlag.SEND_TRIM);
    this.unmapGranularity = knowsHoles && canUnmap ? Math.max(found.preferredBlock, this.blockSize) : 0;
    this.#tellsHoles = knowsHoles && (canUnmap || hasAll(found, TransmissionFlag.READ_ONLY));
    this.#exportSize = found.size;
    this.#size = found.size - (found.size % this.blockSize);
    this.#log = options.log ?? silentLogger;
    this.#connectTimeout = options.connectTimeout ?? 10_000;
    this.#replyTimeout = options.replyTimeout ?? 30_000;
    this.#patience = options.patience ?? 60_000;
    this.#lanes = new Lanes({
      connect: () => this.#connect(),
      connected: (connection) => this.#connected(connection),
      failed: (error) => this.#attemptFailed(error),
    });
    this.#lanes.add(first);
    const allowed = this.#allowsSeveral ? (options.connections ?? 4) : 1;
    for (let i = 1; i < allowed; i++) this.#lanes.add(null);
    const interval = Math.max(20, Math.min(this.#replyTimeout, this.#patience) / 8);
    this.#watch = setInterval(() => this.#lookForOverdue(), interval).unref();
  }

  get size(): number {
    return this.#size;
  }

  submit(io: BlockIo): boolean {
    if (refused(io, this, this.#closing !== null)) return true;
    if (this.#broken !== null) return io.fail(BlockStatus.NOT_READY, io.offset, this.#broken);
    if (this.#isAway()) return io.fail(BlockStatus.NOT_READY, io.offset, this.#lastError);
    if (io.op === BlockOp.FLUSH) {
      if (!this.#canFlush) return true;
    } else if (io.length === 0) {
      return true;
    } else if (io.op === BlockOp.EXTENTS && !this.#tellsHoles) {
      return io.addExtent(io.length, true);
    }
    this.#start(io);
    return false;
  }

  /** Never: the bytes are elsewhere. */
  lend(): boolean {
    return false;
  }

  /**
   * The protocol does not tell of a new size, but a new connection does: one is made to look, where the server
   * allows another one. Everywhere else a size is noticed when a lost connection is made anew.
   */
  refresh(): Promise<void> {
    if (this.#closing !== null || this.#broken !== null) return Promise.resolve();
    if (this.#lanes.isConnected && !this.#allowsSeveral) return Promise.resolve();
    return (this.#refreshing ??= this.#look().finally(() => (this.#refreshing = null)));
  }

  /** Throws RiserError `NBD_NOT_FLUSHED` when the data could not be made stable; the server is let go all the same. */
  close(): Promise<void> {
    return (this.#closing ??= this.#letGo());
  }

  // ---- called by connections ----

  /** @internal */
  answered(_connection: ClientConnection, part: Part): void {
    this.#lostAt = null;
    this.#finish(part, statusOf(part.error), causeOf(part));
    this.#dispatch();
  }

  /** @internal */
  lost(connection: ClientConnection, error: Error): void {
    const parts = connection.takeBack();
    if (error instanceof RiserError && error.code === 'NBD_PROTOCOL') this.#break(error);
    this.#lastError = error;
    this.#lanes.lost(connection);
    if (!this.#lanes.isConnected) {
      this.#lostAt ??= performance.now();
      if (this.#closing === null && this.#broken === null)
        this.#log.warn(`${this.description}: ${error.message}`);
    }
    for (const part of parts) this.#waiting.push(part);
    // From a timer of its own: this may be the middle of a submit.
    setImmediate(() => {
      this.#lookForOverdue();
      this.#dispatch();
    });
  }

  // ---- operations ----

  newPart(): Part {
    const part = this.#idleParts.pop() ?? new Part();
    part.since = performance.now();
    return part;
  }

  send(part: Part): void {
    const connection = this.#waiting.first === null && this.#broken === null ? this.#lanes.pick() : null;
    if (connection === null) this.#waiting.push(part);
    else connection.send(part, part.since);
  }

  finished(operation: Operation): void {
    const { io } = operation;
    this.#idleOperations.push(operation);
    if (changesMedium(io.op)) this.#isDirty = true;
    io.done();
    if (--this.#operations === 0) this.#onIdle?.();
  }

  #start(io: BlockIo): void {
    this.#operations++;
    const operation = this.#idleOperations.pop() ?? new Operation(this);
    if (io.op === BlockOp.FLUSH) this.#isDirty = false;
    operation.start(io);
  }

  #dispatch(): void {
    while (this.#waiting.first !== null && this.#broken === null) {
      const connection = this.#lanes.pick();
      if (connection === null) return;
      connection.send(this.#waiting.shift()!, performance.now());
    }
  }

  #finish(part: Part, status: BlockStatus, cause: Error | null): void {
    this.#idleParts.push(part);
    part.operation.partDone(part, status, cause);
  }

  // ---- connections ----

  get #allowsSeveral(): boolean {
    return hasAll(this.export, TransmissionFlag.CAN_MULTI_CONN);
  }

  get #canFlush(): boolean {
    return !this.readOnly && hasAll(this.export, TransmissionFlag.SEND_FLUSH);
  }

  #connect(): Promise<ClientConnection> {
    return connect({
      ...this.#uri,
      timeout: this.#connectTimeout,
      accept: (found) => this.#accept(found),
      events: this,
    });
  }

  /** An export that has become another one must not get what was meant for the first. */
  #accept(found: Export): number {
    const { flags, structured, allocationContext, maximumPayload } = this.export;
    if (
      found.flags !== flags ||
      found.structured !== structured ||
      (found.allocationContext === null) !== (allocationContext === null) ||
      found.minimumBlock > this.blockSize ||
      found.maximumPayload < maximumPayload ||
      found.size < this.blockSize
    ) {
      throw new RiserError('NBD_CHANGED', 'the server offers another export than before', {
        by: 'peer',
        costs: 'connection',
      });
    }
    return this.blockSize;
  }

  #connected(connection: ClientConnection): void {
    if (this.#lostAt !== null) this.#log.info(`${this.description}: connected again`);
    this.#lostAt = null;
    if (connection.export.size !== this.#exportSize) {
      this.#lanes.replaceAll(connection);
      this.#exportSize = connection.export.size;
      const size = this.#exportSize - (this.#exportSize % this.blockSize);
      if (size !== this.#size) {
        this.#size = size;
        this.events?.resized();
      }
    }
    this.#dispatch();
  }

  #attemptFailed(error: Error): void {
    this.#lastError = error;
    if (error instanceof RiserError && error.code === 'NBD_PROTOCOL' && !this.#lanes.isConnected) {
      this.#log.debug(`${this.description}: ${error.message}`);
    }
  }

  async #look(): Promise<void> {
    let connection: ClientConnection;
    try {
      connection = await this.#connect();
    } catch (error) {
      this.#attemptFailed(error as Error);
      return;
    }
    if (this.#lanes.isConnected && connection.export.size === this.#exportSize) {
      connection.disconnect();
      return;
    }
    this.#lanes.replaceAll(connection);
    this.#connected(connection);
  }

  // ---- time ----

  /** Whether the server has been away for longer than an operation may take. */
  #isAway(): boolean {
    return (
      this.#lostAt !== null && !this.#lanes.isConnected && performance.now() - this.#lostAt > this.#patience
    );
  }

  #lookForOverdue(): void {
    const now = performance.now();
    for (const connection of this.#lanes.connections()) {
      if (now - connection.oldest() <= this.#replyTimeout) continue;
      connection.destroy(new Error(`the server did not answer for ${this.#replyTimeout / 1000} s`));
    }
    const cause = this.#broken ?? this.#lastError;
    // Parts that were taken back are behind younger ones: look at each.
    const kept = new PartQueue();
    const overdue: Part[] = [];
    for (let part = this.#waiting.shift(); part !== null; part = this.#waiting.shift()) {
      if (this.#broken !== null || now - part.since > this.#patience) overdue.push(part);
      else kept.push(part);
    }
    for (let part = kept.shift(); part !== null; part = kept.shift()) this.#waiting.push(part);
    for (const part of overdue) {
      part.errorOffset = part.offset;
      this.#finish(part, BlockStatus.NOT_READY, cause);
    }
  }

  // ---- the end ----

  /** The server cannot be trusted: never ask it again. */
  #break(error: Error): void {
    if (this.#broken !== null) return;
    this.#broken = error;
    this.#log.error(`${this.description} is given up: ${error.message}`);
    this.#lanes.close((connection) => connection.destroy(error));
  }

  async #letGo(): Promise<void> {
    await this.#idle();
    let failed: Error | null = null;
    if (this.#isDirty && this.#canFlush) failed = await this.#flush();
    clearInterval(this.#watch);
    this.#lanes.close((connection) => connection.disconnect());
    if (failed === null) return;
    const message = `${this.description}: what was written last may be lost: ${failed.message}`;
    throw new RiserError('NBD_NOT_FLUSHED', message, { by: 'device', costs: 'process', cause: failed });
  }

  async #idle(): Promise<void> {
    if (this.#operations > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
  }

  async #flush(): Promise<Error | null> {
    if (this.#broken !== null) return this.#broken;
    if (!this.#lanes.isConnected) return this.#lastError ?? new Error('the server is away');
    const io = new FlushIo();
    this.#start(io);
    await io.isDone;
    return io.status === BlockStatus.GOOD ? null : (io.cause ?? new Error('the server could not flush'));
  }
}

/** The flush before the end. */
class FlushIo extends BlockIo {
  override op: BlockOp = BlockOp.FLUSH;
  done!: () => void;
  readonly isDone = new Promise<void>((resolve) => (this.done = resolve));
}

function hasAll({ flags }: Export, wanted: number): boolean {
  return (flags & wanted) === wanted;
}

/** @throws RiserError `NBD_BLOCK_SIZE`, `NBD_EMPTY` */
function chooseBlockSize({ minimumBlock, size }: Export, wanted: number | undefined): number {
  const blockSize = wanted ?? (minimumBlock <= 512 ? 512 : 4096);
  if (minimumBlock > blockSize) {
    const remedy =
      minimumBlock <= 4096 ? 'Choose a block size of 4096.' : 'Disks have blocks of 4096 bytes at most.';
    throw new RiserError('NBD_BLOCK_SIZE', `the server takes blocks of ${minimumBlock} bytes at least`, {
      by: 'peer',
      costs: 'connection',
      remedy,
    });
  }
  if (size < blockSize) {
    throw new RiserError('NBD_EMPTY', `the export has ${size} bytes, less than one block of ${blockSize}`, {
      by: 'peer',
      costs: 'connection',
      remedy: 'Export something with a size.',
    });
  }
  return blockSize;
}

function explain(uri: string, error: Error): RiserError {
  const code = error instanceof RiserError ? error.code : 'NBD_UNREACHABLE';
  const given = error instanceof RiserError ? error.remedy : undefined;
  const remedy =
    given ?? 'Check that the server runs there, and that it has this export: nbdinfo --list tells.';
  return new RiserError(code, `${uri}: ${error.message}`, {
    by: 'peer',
    costs: 'process',
    remedy,
    cause: error,
  });
}
