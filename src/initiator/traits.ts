/** What a logical unit is and can do, asked of it by INQUIRY, READ CAPACITY, MODE SENSE and GET LBA STATUS. */

import {
  type BlockLimits,
  type Capacity,
  cdbs,
  type Designator,
  NO_LIMITS,
  OpCode,
  parseBlockLimits,
  parseCapacity10,
  parseCapacity16,
  parseDesignators,
  parseProvisioning,
  parseStandardInquiry,
  type Provisioning,
  type StandardInquiry,
  printableText,
  vpdBody,
} from '../scsi/client/index.js';
import { SenseKey, Status } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import { isPowerOfTwo } from '../util/power-of-two.js';
import { CommandFailed, type CommandOptions, type CommandResult } from './command.js';

/** Sends one command to the unit. */
export type Send = (cdb: Uint8Array, options: CommandOptions) => Promise<CommandResult>;

/** What a unit tells of itself. */
export interface UnitDescription {
  readonly inquiry: StandardInquiry;
  /** Codes of the VPD pages that it has, in its order. */
  readonly pages: readonly number[];
  readonly serialNumber: string | null;
  readonly designators: readonly Designator[];
  readonly limits: BlockLimits;
  readonly provisioning: Provisioning;
}

/** What decides which commands are sent to a unit, and how large they are. */
export interface UnitTraits {
  readonly description: UnitDescription;
  readonly capacity: Capacity;
  readonly readOnly: boolean;
  /** Whether the FUA bit is known (DPOFUA, SBC-3 6.4.1). */
  readonly fua: boolean;
  readonly unmap: boolean;
  readonly writeSame: boolean;
  readonly writeSameUnmaps: boolean;
  readonly extents: boolean;
  /** Whether 16-byte READ and WRITE are known. */
  readonly longCommands: boolean;
  /** Blocks of one READ or WRITE, of one UNMAP and of one WRITE SAME; each at least 1. */
  readonly maximumTransfer: number;
  readonly maximumUnmap: number;
  readonly maximumWriteSame: number;
  /** Blocks. */
  readonly unmapGranularity: number;
  /** Blocks of one COMPARE AND WRITE; 0 when it has none. */
  readonly maximumCompareAndWrite: number;
}

/** Bytes of one READ or WRITE. */
const TRANSFER_LIMIT = 8 << 20;
/**
 * The same over RDMA where the unit reports no limit: targets have buffers of a fixed size. tgt's are 512 KiB, and
 * a command for more ends the connection.
 */
const RDMA_TRANSFER_LIMIT = 512 << 10;
/** Blocks of one WRITE SAME where the unit reports no limit: a pause for others now and then. */
const WRITE_SAME_LIMIT = 65536;
const INQUIRY_LENGTH = 255;
const PAGE_LENGTH = 4096;
const DISK = 0x00;
const CD_OR_DVD = 0x05;

/**
 * Ask a unit for everything. Pending unit attention conditions are passed over. `isRdma`: the way to it is, or may be, iSER.
 *
 * @throws RiserError `NO_SUCH_LUN` when there is no logical unit, `NOT_A_DISK`, `MEDIUM` when it has no usable capacity
 */
export async function inspectUnit(send: Send, isRdma: boolean, signal?: AbortSignal): Promise<UnitTraits> {
  return inspectMedium(send, await describeUnit(send, signal), isRdma, signal);
}

/** The same of a unit that has told what it is; for that the target port must give access to it. */
export async function inspectMedium(
  send: Send,
  description: UnitDescription,
  isRdma: boolean,
  signal?: AbortSignal,
): Promise<UnitTraits> {
  const ask = asking(send, signal);
  const isDisc = description.inquiry.deviceType === CD_OR_DVD;
  if (description.inquiry.deviceType !== DISK && !isDisc) {
    throw new RiserError(
      'NOT_A_DISK',
      `the LUN is a device of type ${description.inquiry.deviceType}, neither disk nor CD`,
      {
        by: 'device',
        costs: 'session',
      },
    );
  }
  const { capacity, longCommands } = await readCapacity(ask);
  const { limits, provisioning } = description;
  const mode = await deviceSpecificParameter(ask);
  const extents = capacity.isThin && capacity.unmappedReadsZero && (await knowsLbaStatus(ask));
  const atLeastOne = (blocks: number, fallback: number): number =>
    Math.max(1, blocks === 0 ? fallback : blocks);
  const hasNoLimit = limits.maximumTransfer === 0;
  const transferLimit = Math.floor(
    (isRdma && hasNoLimit ? RDMA_TRANSFER_LIMIT : TRANSFER_LIMIT) / capacity.blockSize,
  );
  const longest = longCommands ? transferLimit : Math.min(transferLimit, 0xffff);
  return {
    description,
    capacity,
    longCommands,
    extents,
    // A disc tells no WP (MMC-6); what can be written is not written here.
    readOnly: isDisc || (mode & 0x80) !== 0,
    fua: (mode & 0x10) !== 0,
    unmap: capacity.isThin && provisioning.unmap,
    writeSame: longCommands && (await knowsWriteSame(ask, provisioning)),
    writeSameUnmaps: capacity.isThin && provisioning.writeSameUnmaps && capacity.unmappedReadsZero,
    maximumTransfer: atLeastOne(Math.min(limits.maximumTransfer || longest, longest), longest),
    maximumUnmap: atLeastOne(limits.maximumUnmapBlocks, 0xffff_ffff),
    maximumWriteSame: atLeastOne(Math.min(limits.maximumWriteSame || WRITE_SAME_LIMIT, 0xffff_ffff), 1),
    unmapGranularity: limits.optimalUnmapGranularity,
    maximumCompareAndWrite: limits.maximumCompareAndWrite,
  };
}

type Ask = (build: (cdb: Buffer) => void, readLength: number) => Promise<CommandResult>;

function asking(send: Send, signal: AbortSignal | undefined): Ask {
  return (build, readLength) => {
    const cdb = Buffer.alloc(16);
    build(cdb);
    return send(cdb, { readLength, isIdempotent: true, ...(signal !== undefined && { signal }) });
  };
}

/**
 * What a unit tells by INQUIRY, which every target port answers.
 *
 * @throws RiserError `NO_SUCH_LUN`
 */
export async function describeUnit(send: Send, signal?: AbortSignal): Promise<UnitDescription> {
  const ask = asking(send, signal);
  const result = expectGood(
    'INQUIRY',
    await ask((cdb) => {
      cdbs.inquiry(cdb, null, INQUIRY_LENGTH);
    }, INQUIRY_LENGTH),
  );
  const inquiry = parseStandardInquiry(result.data);
  if (inquiry?.qualifier !== 0) {
    throw new RiserError('NO_SUCH_LUN', 'the target has no such LUN, or does not show it to this initiator', {
      by: 'peer',
      costs: 'session',
      remedy: 'riser ls lists the LUNs of a target.',
    });
  }
  const supported = (await page(ask, 0x00)) ?? Buffer.alloc(0);
  const read = async (code: number): Promise<Buffer> =>
    (supported.includes(code) ? await page(ask, code) : null) ?? Buffer.alloc(0);
  const serial = printableText(await read(0x80));
  const limits = await read(0xb0);
  return {
    inquiry,
    pages: [...supported],
    serialNumber: serial === '' ? null : serial,
    designators: parseDesignators(await read(0x83)),
    limits: limits.length === 0 ? NO_LIMITS : parseBlockLimits(limits),
    provisioning: parseProvisioning(await read(0xb2)),
  };
}

/** The body of a VPD page, or null if the unit does not have it. */
async function page(ask: Ask, code: number): Promise<Buffer | null> {
  const result = await ask((cdb) => {
    cdbs.inquiry(cdb, code, PAGE_LENGTH);
  }, PAGE_LENGTH);
  return result.status === Status.GOOD ? vpdBody(result.data, code) : null;
}

async function readCapacity(ask: Ask): Promise<{ capacity: Capacity; longCommands: boolean }> {
  const long = await ask((cdb) => {
    cdbs.readCapacity16(cdb, 32);
  }, 32);
  let capacity = long.status === Status.GOOD ? parseCapacity16(long.data) : null;
  const longCommands = capacity !== null;
  if (capacity === null && long.sense?.key === SenseKey.ILLEGAL_REQUEST) {
    const short = expectGood('READ CAPACITY(10)', await ask(cdbs.readCapacity10, 8));
    capacity = parseCapacity10(short.data);
  } else if (capacity === null) expectGood('READ CAPACITY(16)', long);
  const { blocks = 0, blockSize = 0 } = capacity ?? {};
  if (
    capacity === null ||
    blockSize < 512 ||
    !isPowerOfTwo(blockSize) ||
    blockSize > 65536 ||
    !isSize(blocks * blockSize)
  ) {
    throw new RiserError('MEDIUM', `the LUN says that it has ${blocks} blocks of ${blockSize} bytes`, {
      by: 'device',
      costs: 'session',
    });
  }
  return { capacity, longCommands };
}

function isSize(bytes: number): boolean {
  return bytes > 0 && Number.isSafeInteger(bytes);
}

/** Byte 3 of the header of MODE SENSE(10): WP and DPOFUA (SBC-3 6.4.1); 0 if it is not told. */
async function deviceSpecificParameter(ask: Ask): Promise<number> {
  const result = await ask((cdb) => {
    cdbs.modeSense10(cdb, 0x3f, 0, 255);
  }, 255);
  return result.status === Status.GOOD ? (result.data[3] ?? 0) : 0;
}

async function knowsLbaStatus(ask: Ask): Promise<boolean> {
  const result = await ask((cdb) => {
    cdbs.getLbaStatus(cdb, 0, 24);
  }, 24);
  return result.status === Status.GOOD && result.data.length >= 24;
}

/** SUPPORT of REPORT SUPPORTED OPERATION CODES (SPC-4 6.35.3): as the standard has it. */
const SUPPORTED = 3;

/** A unit that cannot be asked is taken to have WRITE SAME(16) if it unmaps with it. */
async function knowsWriteSame(ask: Ask, provisioning: Provisioning): Promise<boolean> {
  const result = await ask((cdb) => {
    cdbs.reportSupportedOperationCode(cdb, OpCode.WRITE_SAME_16, 64);
  }, 64);
  if (result.status !== Status.GOOD || result.data.length < 2) return provisioning.writeSameUnmaps;
  return (result.data[1]! & 7) === SUPPORTED;
}

export function expectGood(what: string, result: CommandResult): CommandResult {
  if (result.status === Status.GOOD) return result;
  throw new CommandFailed(what, result);
}
