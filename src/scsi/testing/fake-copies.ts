/** A copy manager whose clock and turns are the test's, logical units that it serves, and the commands of third-party copies. */

import assert from 'node:assert/strict';
import { MemoryDevice } from '../../block/memory.js';
import type { BlockDevice } from '../../block/device.js';
import type { LogicalUnitOptions } from '../configuration.js';
import { deriveIdentity } from '../identity.js';
import { LogicalUnitInventory } from '../inventory.js';
import { LogicalUnit } from '../logical-unit.js';
import type { Nexus } from '../nexus.js';
import { Sense } from '../sense.js';
import { type CopyHost, CopyManager } from '../third-party-copy/copy-manager.js';
import { cscdDescriptor } from '../third-party-copy/cscd.js';
import { cdb16 } from './cdb.js';
import { FakeTarget, type FakeTask, fakeNexus, type FakeTaskOptions } from './fake-task.js';

export class FakeCopyHost implements CopyHost {
  /** Milliseconds. */
  time = 0;
  readonly #turns: (() => void)[] = [];

  now(): number {
    return this.time;
  }

  defer(resume: () => void): void {
    this.#turns.push(resume);
  }

  /** Give the next copy its turn. False when none waits for one. */
  turn(): boolean {
    const resume = this.#turns.shift();
    resume?.();
    return resume !== undefined;
  }

  /** Give turns until nobody waits for one. */
  turnAll(): void {
    while (this.turn());
  }
}

/** Targets of one server, whose copies run when {@link FakeCopies.host} says so. */
export class FakeCopies {
  readonly host = new FakeCopyHost();
  readonly manager = new CopyManager(this.host);
  readonly inventory = new LogicalUnitInventory();
  readonly nexus: Nexus;
  #lastLun = -1;

  constructor(nexus: Nexus = fakeNexus()) {
    this.nexus = nexus;
    this.inventory.addNexus(nexus);
  }

  /** One more logical unit, 4 MiB of memory in blocks of 512 bytes unless told otherwise, of `inventory` or another. */
  add(
    device: BlockDevice = new MemoryDevice({ size: 4 << 20, blockSize: 512 }),
    options: Partial<LogicalUnitOptions> = {},
    inventory = this.inventory,
  ): CopyTarget {
    const lun = ++this.#lastLun;
    const identity = deriveIdentity({ targetName: 'iqn.2026-01.test:disk', lun, image: 'memory' });
    const unit = new LogicalUnit(device, { identity, copyManager: this.manager, ...options });
    inventory.add(lun, unit);
    for (const { unitAttentions } of inventory.units) {
      unitAttentions.drop(this.nexus, Sense.REPORTED_LUNS_DATA_HAS_CHANGED);
    }
    return new CopyTarget(this, unit);
  }
}

export class CopyTarget extends FakeTarget {
  readonly #copies: FakeCopies;

  constructor(copies: FakeCopies, unit: LogicalUnit) {
    super(unit);
    this.#copies = copies;
  }

  /** As {@link run} for the nexus of the copies, and all copies have their turns until it ends. */
  finish(cdb: readonly number[], options: FakeTaskOptions = {}): FakeTask {
    const task = this.start(cdb, options);
    this.#copies.host.turnAll();
    return task;
  }

  start(cdb: readonly number[], options: FakeTaskOptions = {}): FakeTask {
    return this.run(cdb, { nexus: this.#copies.nexus, ...options });
  }

  /** WRITE(16) of `bytes`. */
  write(lba: number, bytes: Buffer): void {
    const blocks = bytes.length / this.unit.blockSize;
    assert.equal(this.start(cdb16(0x8a, 0, lba, blocks), { dataOut: bytes }).outcome, 'GOOD');
  }

  /** READ(16). */
  read(lba: number, blocks: number): Buffer {
    const task = this.start(cdb16(0x88, 0, lba, blocks), { dataInLimit: blocks * this.unit.blockSize });
    assert.equal(task.outcome, 'GOOD');
    return task.dataIn;
  }

  /** EXTENDED COPY(LID1) of `list`, which has had one turn. */
  startExtendedCopy(list: Buffer): FakeTask {
    return this.start(cdbExtendedCopy(list.length), { dataOut: list });
  }

  /** EXTENDED COPY(LID1) of `list`. */
  extendedCopy(list: Buffer): FakeTask {
    return this.finish(cdbExtendedCopy(list.length), { dataOut: list });
  }

  /** RECEIVE COPY RESULTS. */
  results(serviceAction: number, listIdentifier: number): FakeTask {
    const identifier =
      serviceAction < 5 ? [listIdentifier, 0, 0, 0] : [0, 0, listIdentifier >>> 8, listIdentifier & 0xff];
    return this.start([0x84, serviceAction, ...identifier, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]);
  }

  /** POPULATE TOKEN for `ranges`, with list identifier 1. */
  populate(ranges: readonly Blocks[], options: PopulateOptions = {}): FakeTask {
    const list = populateList(ranges, options);
    return this.finish(cdbWithList(0x10, 1, list.length), { dataOut: list });
  }

  /** The token that {@link populate} has made. */
  token(): Buffer {
    const data = this.results(0x07, 1).dataIn;
    return data.subarray(data.length - 512);
  }

  /** WRITE USING TOKEN, with list identifier 2. */
  writeUsing(token: Buffer, ranges: readonly Blocks[], options: WriteOptions = {}): FakeTask {
    const task = this.startWriteUsing(token, ranges, options);
    this.#copies.host.turnAll();
    return task;
  }

  /** The same, and what it copies has had one turn. */
  startWriteUsing(token: Buffer, ranges: readonly Blocks[], options: WriteOptions = {}): FakeTask {
    const list = writeUsingList(token, ranges, options);
    return this.start(cdbWithList(0x11, 2, list.length), { dataOut: list });
  }
}

function cdbExtendedCopy(length: number): number[] {
  return [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length >>> 8, length & 0xff, 0, 0];
}

function cdbWithList(serviceAction: number, listIdentifier: number, length: number): number[] {
  return [0x83, serviceAction, 0, 0, 0, 0, 0, 0, 0, listIdentifier, 0, 0, length >>> 8, length & 0xff, 0, 0];
}

export interface Segment {
  source?: number;
  destination?: number;
  blocks: number;
  from?: number;
  to?: number;
  /** CAT 1, DC 2. */
  flags?: number;
}

export interface CopyListOptions {
  listIdentifier?: number;
  /** STR 20h, LIST ID USAGE 18h, PRIORITY 07h. */
  flags?: number;
  inlineLength?: number;
}

/** The parameter list of EXTENDED COPY(LID1): CSCD descriptors of `units`, and `segments`, which are from the first to the second unless told otherwise. */
export function copyList(
  units: readonly LogicalUnit[],
  segments: readonly Segment[],
  { listIdentifier = 1, flags = 0, inlineLength = 0 }: CopyListOptions = {},
): Buffer {
  const header = Buffer.alloc(16);
  header[0] = listIdentifier;
  header[1] = flags;
  header.writeUInt16BE(32 * units.length, 2);
  header.writeUInt32BE(28 * segments.length, 8);
  header.writeUInt32BE(inlineLength, 12);
  const descriptors = segments.map(({ source = 0, destination = 1, blocks, from = 0, to = 0, flags = 0 }) => {
    const descriptor = Buffer.alloc(28);
    descriptor[0] = 0x02;
    descriptor[1] = flags;
    descriptor.writeUInt16BE(24, 2);
    descriptor.writeUInt16BE(source, 4);
    descriptor.writeUInt16BE(destination, 6);
    descriptor.writeUInt16BE(blocks, 10);
    descriptor.writeBigUInt64BE(BigInt(from), 12);
    descriptor.writeBigUInt64BE(BigInt(to), 20);
    return descriptor;
  });
  return Buffer.concat([header, ...units.map(cscdDescriptor), ...descriptors]);
}

/** First block, and number of blocks. */
export type Blocks = readonly [number, number];

export interface PopulateOptions {
  /** RTV 2, IMMED 1. */
  flags?: number;
  /** Seconds. */
  timeout?: number;
  rodType?: number;
}

function rangeList(ranges: readonly Blocks[]): Buffer {
  const list = Buffer.alloc(2 + 16 * ranges.length);
  list.writeUInt16BE(16 * ranges.length, 0);
  ranges.forEach(([lba, blocks], i) => {
    list.writeBigUInt64BE(BigInt(lba), 2 + 16 * i);
    list.writeUInt32BE(blocks, 10 + 16 * i);
  });
  return list;
}

export function populateList(ranges: readonly Blocks[], options: PopulateOptions = {}): Buffer {
  const list = Buffer.concat([Buffer.alloc(14), rangeList(ranges)]);
  list.writeUInt16BE(list.length - 2, 0);
  list[2] = options.flags ?? 0;
  list.writeUInt32BE(options.timeout ?? 0, 4);
  list.writeUInt32BE(options.rodType ?? 0, 8);
  return list;
}

export interface WriteOptions {
  /** DEL_TKN 2, IMMED 1. */
  flags?: number;
  /** Blocks. */
  offset?: number;
}

export function writeUsingList(token: Buffer, ranges: readonly Blocks[], options: WriteOptions = {}): Buffer {
  const list = Buffer.concat([Buffer.alloc(16), token, Buffer.alloc(6), rangeList(ranges)]);
  list.writeUInt16BE(list.length - 2, 0);
  list[2] = options.flags ?? 0;
  list.writeBigUInt64BE(BigInt(options.offset ?? 0), 8);
  return list;
}

/** The token that stands for zeroes. */
export function zeroToken(): Buffer {
  const token = Buffer.alloc(512);
  token.writeUInt32BE(0xffff_0001, 0);
  token.writeUInt16BE(504, 6);
  return token;
}
