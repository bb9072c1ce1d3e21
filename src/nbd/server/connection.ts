/**
 * One client of the server: the handshake, then requests, each a {@link Job} for the device. A request's
 * limits are checked before memory is taken; a client that asks faster than it is answered, or does not read
 * its answers, is no longer read from.
 */

import type { Socket } from 'node:net';
import { BlockOp, MAXIMUM_EXTENTS, type BlockDevice } from '../../block/device.js';
import { openStream, type ByteStream, type ByteStreamEvents } from '../../stream/index.js';
import type { Logger } from '../../util/logger.js';
import { BufferPool } from '../../util/memory.js';
import { DialogueRunner } from '../dialogue.js';
import { violation } from '../errors.js';
import { Receiver } from '../receiver.js';
import {
  Cmd,
  CmdFlag,
  DEFAULT_MAXIMUM_PAYLOAD,
  ErrorCode,
  Request,
  REQUEST_LENGTH,
  REQUEST_MAGIC,
} from '../wire.js';
import { negotiate, type Agreement, type ExportDescription } from './handshake.js';
import { COMMANDS, errorOf, Job, type Command } from './job.js';
import { queueReply } from './replies.js';

/** Memory that the requests of one client may have, bytes; the longest request fits. */
const MEMORY = 2 * DEFAULT_MAXIMUM_PAYLOAD;
/** Requests of one client at work at a time, with or without memory. */
const MOST_JOBS = 256;

/** What a connection needs of its server. */
export interface ConnectionOwner {
  readonly device: BlockDevice;
  readonly log: Logger;
  /** Milliseconds for the handshake. */
  readonly handshakeTimeout: number;
  /** Milliseconds for what is under way when the server closes. */
  readonly grace: number;
  describe(): ExportDescription;
  /** The connection is closed, and the device done with it. */
  ended(connection: ServerConnection): void;
}

export class ServerConnection implements ByteStreamEvents<Job> {
  readonly #owner: ConnectionOwner;
  readonly #device: BlockDevice;
  readonly #stream: ByteStream<Job>;
  readonly #receiver: Receiver;
  readonly #header = Buffer.alloc(REQUEST_LENGTH);
  readonly #idleJobs: Job[] = [];
  #timer: NodeJS.Timeout | null;
  #runner: DialogueRunner<Agreement | null> | null = null;
  #agreement: Agreement = { structured: false, tellsAllocation: false };
  #pool = new BufferPool(MEMORY);
  #jobs = 0;
  #memory = 0;
  /** A request that waits for memory, and one whose data is arriving. */
  #waiting: Job | null = null;
  #receiving: Job | null = null;
  #received = 0;
  /** Bytes of a refused WRITE that are still to come. */
  #skipping: Job | null = null;
  #isHeld = false;
  #isLeaving = false;
  #isClosed = false;
  #isEnded = false;

  constructor(socket: Socket, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#device = owner.device;
    this.#stream = openStream<Job>(socket);
    this.#stream.events = this;
    this.#receiver = new Receiver(this.#stream);
    this.#timer = setTimeout(() => {
      this.#fail(violation('the client does not come to an end with its handshake'));
    }, owner.handshakeTimeout);
    const dialogue = negotiate(
      () => owner.describe(),
      (bytes) => this.#send(bytes),
    );
    this.#runner = new DialogueRunner(this.#stream, dialogue, (agreement) => this.#agreed(agreement));
  }

  /** Answer what is under way, and close. */
  leave(): void {
    if (this.#isClosed || this.#isLeaving) return;
    this.#isLeaving = true;
    // The client's end must be seen, behind whatever it may still send.
    this.#stream.resume();
    this.#clearTimer();
    this.#timer = setTimeout(() => this.#stream.destroy(null), this.#owner.grace);
    this.#dropUnfinished();
    this.#endWhenIdle();
  }

  // ---- called by the stream ----

  readable(): void {
    try {
      if (this.#runner !== null && !this.#isLeaving) this.#runner.readable();
      if (this.#isLeaving) this.#receiver.skip(Infinity);
      else if (this.#runner === null) this.#takeRequests();
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  released(job: Job): void {
    this.#recycle(job);
  }

  closed(error: Error | null): void {
    this.#isClosed = true;
    this.#clearTimer();
    if (error !== null) this.#owner.log.debug(`NBD client: ${error.message}`);
    this.#dropUnfinished();
    this.#endWhenIdle();
  }

  // ---- handshake ----

  #send(bytes: Uint8Array): void {
    const { queue } = this.#stream;
    queue.reserve(bytes.length);
    queue.region.bytes.set(bytes, queue.offset);
    this.#stream.flush();
  }

  #agreed(agreement: Agreement | null): void {
    this.#clearTimer();
    this.#runner = null;
    if (agreement === null) this.leave();
    else this.#agreement = agreement;
  }

  // ---- requests ----

  #takeRequests(): void {
    while (!this.#isHeld && !this.#isLeaving && !this.#isClosed) {
      if (this.#waiting !== null) {
        const job = this.#waiting;
        if (!this.#takeMemory(job)) break;
        this.#waiting = null;
        if (job.op === BlockOp.WRITE) this.#receiving = job;
        else this.#start(job);
      } else if (this.#receiving !== null) {
        if (!this.#receive(this.#receiving)) break;
      } else if (this.#skipping !== null) {
        if (!this.#skip(this.#skipping)) break;
      } else if (this.#jobs === MOST_JOBS) {
        this.#hold();
      } else {
        if (!this.#receiver.take(this.#header, REQUEST_LENGTH)) break;
        this.#takeRequest();
      }
    }
    if (!this.#isClosed) this.#stream.flush();
  }

  #takeRequest(): void {
    const header = this.#header;
    if (Request.magic.get(header) !== REQUEST_MAGIC)
      throw violation('the client sends a request without its magic');
    const type = Request.type.get(header);
    const length = Request.length.get(header);
    if (type === Cmd.WRITE && length > DEFAULT_MAXIMUM_PAYLOAD) {
      throw violation(`the client sends ${length} bytes at once`);
    }
    if (type === Cmd.DISC) {
      this.leave();
      return;
    }
    const job = this.#idleJobs.pop() ?? new Job(this.#deviceDone);
    this.#jobs++;
    job.cookieHigh = Request.cookieHigh.get(header);
    job.cookieLow = Request.cookieLow.get(header);
    job.offset = Request.offset.get(header);
    job.length = length;
    job.error = 0;
    const flags = Request.flags.get(header);
    job.isLent = false;
    const command = COMMANDS[type];
    // What a READ is answered with depends on it, however it ends.
    job.op = command?.op ?? BlockOp.FLUSH;
    this.#check(job, command, flags);
    if (type === Cmd.WRITE && job.error !== 0) {
      this.#skipping = job;
      this.#received = 0;
    } else if (job.error !== 0) {
      this.#reply(job);
    } else {
      job.fua = (flags & CmdFlag.FUA) !== 0;
      job.mayUnmap = (flags & CmdFlag.NO_HOLE) === 0;
      job.extentLimit = (flags & CmdFlag.REQ_ONE) !== 0 ? 1 : MAXIMUM_EXTENTS;
      this.#received = 0;
      this.#waiting = job;
    }
  }

  /** Set the error of a request that must not be carried out. */
  #check(job: Job, command: Command | undefined, flags: number): void {
    const device = this.#device;
    const { op, offset, length } = job;
    if (command === undefined) {
      refuse(job, ErrorCode.EINVAL, 'the command is not supported');
    } else if ((flags & ~(command.flags | CmdFlag.FUA)) !== 0) {
      refuse(job, ErrorCode.EINVAL, 'a flag of the command is not supported');
    } else if ((flags & CmdFlag.DF) !== 0 && !this.#agreement.structured) {
      refuse(job, ErrorCode.EINVAL, 'only structured replies can be fragmented');
    } else if (op === BlockOp.FLUSH) {
      if (offset !== 0 || length !== 0)
        refuse(job, ErrorCode.EINVAL, 'a flush has neither offset nor length');
    } else if (command.changesMedium && device.readOnly) {
      refuse(job, ErrorCode.EPERM, 'the export is read-only');
    } else if (op === BlockOp.EXTENTS && (!this.#agreement.tellsAllocation || length === 0)) {
      refuse(job, ErrorCode.EINVAL, 'no metadata context is selected, or nothing is asked for');
    } else if (op === BlockOp.READ && length > DEFAULT_MAXIMUM_PAYLOAD) {
      refuse(job, ErrorCode.EOVERFLOW, 'the request is too long');
    } else if (offset > device.size || length > device.size - offset) {
      const error = op === BlockOp.WRITE || op === BlockOp.WRITE_ZEROES ? ErrorCode.ENOSPC : ErrorCode.EINVAL;
      refuse(job, error, 'the request reaches behind the end');
    } else if (offset % device.blockSize !== 0 || length % device.blockSize !== 0) {
      refuse(job, ErrorCode.EINVAL, `the request is no whole number of blocks of ${device.blockSize} bytes`);
    }
  }

  /** Aim `job.data` at memory of the device or of the pool. False when there is none left now. */
  #takeMemory(job: Job): boolean {
    const { op, offset, length, data } = job;
    if (op !== BlockOp.READ && op !== BlockOp.WRITE) return true;
    job.isLent = this.#device.lend(data, offset, length, op === BlockOp.WRITE);
    if (job.isLent) return true;
    if (this.#memory === 0) {
      if (this.#pool.fill(data, length)) return this.#memoryTaken(job);
      // All that was carved is idle, but in buffers of other lengths.
      this.#pool = new BufferPool(MEMORY);
    }
    if (this.#memory + length <= MEMORY && this.#pool.fill(data, length)) return this.#memoryTaken(job);
    this.#hold();
    return false;
  }

  #memoryTaken(job: Job): true {
    job.memory = job.length;
    this.#memory += job.length;
    return true;
  }

  /** Take what has come of a WRITE's data; false when more is to come. */
  #receive(job: Job): boolean {
    this.#received += this.#receiver.moveInto(job.data, this.#received, job.length - this.#received);
    if (this.#received < job.length) return false;
    this.#receiving = null;
    this.#start(job);
    return true;
  }

  #skip(job: Job): boolean {
    this.#received += this.#receiver.skip(job.length - this.#received);
    if (this.#received < job.length) return false;
    this.#skipping = null;
    this.#reply(job);
    return true;
  }

  #start(job: Job): void {
    if (job.isLent) this.#reply(job);
    else if (this.#device.submit(job)) this.#answer(job);
  }

  readonly #deviceDone = (job: Job): void => {
    this.#answer(job);
    if (!this.#isClosed) this.#stream.flushSoon();
  };

  #answer(job: Job): void {
    job.error = errorOf(job);
    if (job.error !== 0) {
      const cause = job.cause?.message ?? 'no cause is known';
      job.message = 'the device failed';
      const command = COMMANDS.find((row) => row?.op === job.op)?.name;
      this.#owner.log.warn(`NBD ${command} of ${job.length} bytes at ${job.errorOffset} failed: ${cause}`);
    }
    this.#reply(job);
  }

  #reply(job: Job): void {
    if (this.#isClosed) this.#recycle(job);
    else queueReply(this.#stream.queue, job, this.#agreement.structured);
  }

  /** The job is over, its reply sent or never to be sent. */
  #recycle(job: Job): void {
    this.#memory -= job.memory;
    job.memory = 0;
    this.#pool.release(job.data);
    this.#idleJobs.push(job);
    this.#jobs--;
    if (this.#isHeld && !this.#isLeaving && !this.#isClosed) {
      this.#isHeld = false;
      setImmediate(this.#goOn);
    }
    this.#endWhenIdle();
  }

  #hold(): void {
    this.#isHeld = true;
    this.#stream.pause();
  }

  /** There is room again: go on with what has been received, then with what is on its way. */
  readonly #goOn = (): void => {
    if (this.#isLeaving || this.#isClosed) return;
    this.readable();
    if (!this.#isHeld) this.#stream.resume();
  };

  // ---- the end ----

  #endWhenIdle(): void {
    if (this.#jobs > 0 || this.#isEnded) return;
    if (this.#isClosed) {
      this.#isEnded = true;
      this.#owner.ended(this);
    } else if (this.#isLeaving) {
      this.#stream.end();
    }
  }

  /** Forget the request that has not come whole. */
  #dropUnfinished(): void {
    const job = this.#waiting ?? this.#receiving ?? this.#skipping;
    this.#waiting = this.#receiving = this.#skipping = null;
    if (job !== null) this.#recycle(job);
  }

  #fail(error: Error): void {
    if (this.#isClosed) return;
    this.#owner.log.warn(`NBD client dropped: ${error.message}`);
    this.#stream.destroy(null);
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function refuse(job: Job, error: number, message: string): void {
  job.error = error;
  job.message = message;
}
