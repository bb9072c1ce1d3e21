/**
 * iWARP in a capture, walked by its lengths: every FPDU of every connection, from MPA's startup on. tshark loses the borders of
 * FPDUs where much data comes; so the walk finds them, checks what follows from one to the next, and cuts the capture anew with
 * one FPDU in each packet, of which tshark then can judge.
 */

import { crc32c } from '../../src/util/crc32c.js';
import { type Direction, type Packet, type TcpConnection, TcpFlag } from './tcp-capture.js';

const REQUEST = 'MPA ID Req Frame';
const REPLY = 'MPA ID Rep Frame';
/** Of a startup frame, in front of its private data (RFC 5044 7.1.1). */
const STARTUP = 20;
const Flag = { MARKERS: 0x80, CRC: 0x40, REJECTED: 0x20 } as const;

/** ULPDU_Length, and the CRC behind the padding (RFC 5044 4). */
const LENGTH_FIELD = 2;
const CRC = 4;

/** By RDMAP's opcode: bytes of the headers, and the DDP queue of what is not tagged (RFC 5040 4.1, 4.4; RFC 5041 4.2, 4.3). */
const OPCODES = [
  { name: 'Write', headers: 14, queue: null },
  { name: 'Read Request', headers: 46, queue: 1 },
  { name: 'Read Response', headers: 14, queue: null },
  ...['Send', 'Send with Invalidate', 'Send with SE', 'Send with SE and Invalidate'].map((name) => ({
    name,
    headers: 18,
    queue: 0,
  })),
  { name: 'Terminate', headers: 22, queue: 2 },
] as const;
const SEND_QUEUE = 0;
const UNTAGGED = 18;

/** RFC 7145 9.1, and a basic header segment. */
const ISER = 28;
const CONTROL = ISER + 48;
const IserOpcode = { CONTROL: 1, HELLO: 2, HELLO_REPLY: 3 } as const;

export interface Walk {
  fpdus: number;
  /** A line for each fault; a direction is left at its first. */
  faults: string[];
  /** The same connections, with an FPDU in each packet. */
  packets: Packet[];
}

/** Walk over `connections`; those that do not begin with MPA are left out. `isIser`: Sends have an iSER header. */
export function walkFpdus(connections: readonly TcpConnection[], isIser: boolean): Walk {
  const faults: string[] = [];
  const units: { packet: Packet; frame: number }[] = [];
  let fpdus = 0;

  for (const { active, passive } of connections) {
    if (passive === null) continue;
    const missing = [active.assemble(), passive.assemble()];
    if (active.bytes.toString('latin1', 0, REQUEST.length) !== REQUEST) continue;
    faults.push(...missing.filter((one) => one !== null));
    const cut = (direction: Direction, at: number, length: number): void => {
      const bytes = direction.bytes.subarray(at, at + length);
      const packet = { direction, at, bytes, flags: TcpFlag.ACK | TcpFlag.PSH };
      units.push({ packet, frame: direction.frameOf(at + length) });
    };
    for (const [direction, flags] of [
      [active, TcpFlag.SYN],
      [passive, TcpFlag.SYN | TcpFlag.ACK],
    ] as const) {
      units.push({ packet: { direction, at: -1, bytes: Buffer.alloc(0), flags }, frame: direction.synFrame });
    }

    const request = startup(active, REQUEST);
    const reply = passive.bytes.length === 0 ? null : startup(passive, REPLY);
    for (const one of [request, reply]) {
      if (one === null) continue;
      if (one.fault !== null) faults.push(one.fault);
      else cut(one.direction, 0, one.length);
    }
    if (reply?.fault !== null || request.fault !== null) continue;
    if ((reply.flags & Flag.REJECTED) !== 0) continue;
    const hasCrc = ((request.flags | reply.flags) & Flag.CRC) !== 0;
    for (const { direction, length } of [request, reply]) {
      const checker = new Checker(hasCrc, isIser);
      for (let at = length; at < direction.bytes.length;) {
        const { bytes } = direction;
        const fpdu = at + LENGTH_FIELD > bytes.length ? 0 : fpduLength(bytes.readUInt16BE(at));
        const isWhole = fpdu > 0 && at + fpdu <= bytes.length;
        // A connection that is reset may end anywhere.
        if (!isWhole && !direction.hasEnded) break;
        const fault = isWhole ? checker.check(bytes.subarray(at, at + fpdu)) : 'is cut off by the end';
        if (fault !== null) {
          const where = `frame ${direction.frameOf(at + 1)}, ${direction.name}, byte ${at}`;
          faults.push(`${where}: the FPDU ${fault}: ${bytes.toString('hex', at, at + 96)}`);
          break;
        }
        cut(direction, at, fpdu);
        fpdus += 1;
        at += fpdu;
      }
    }
  }
  units.sort((a, b) => a.frame - b.frame);
  return { fpdus, faults, packets: units.map(({ packet }) => packet) };
}

function startup(direction: Direction, key: string) {
  const { bytes, name } = direction;
  const isWhole = bytes.length >= STARTUP && bytes.length >= STARTUP + bytes.readUInt16BE(18);
  const [flags, length] = isWhole ? [bytes[16]!, STARTUP + bytes.readUInt16BE(18)] : [0, 0];
  const says = (what: string): string => `${name}: ${what}: ${bytes.toString('hex', 0, STARTUP)}`;
  let fault: string | null = null;
  if (!isWhole || bytes.toString('latin1', 0, key.length) !== key) fault = says(`no whole "${key}"`);
  else if ((flags & Flag.MARKERS) !== 0) fault = says('markers, which the walk does not know');
  return { direction, flags, length, fault };
}

function padding(ulpdu: number): number {
  return -(LENGTH_FIELD + ulpdu) & 3;
}

function fpduLength(ulpdu: number): number {
  return LENGTH_FIELD + ulpdu + padding(ulpdu) + CRC;
}

/** Checks the FPDUs of one direction, in order. */
class Checker {
  readonly #hasCrc: boolean;
  readonly #isIser: boolean;
  /** For each queue of untagged messages: the number of the message that is under way or next, and how much of it came. */
  readonly #queues = [0, 1, 2].map(() => ({ message: 1, offset: 0 }));
  /** Bytes that the iSER message under way must have, at least. */
  #needed = 0;

  constructor(hasCrc: boolean, isIser: boolean) {
    this.#hasCrc = hasCrc;
    this.#isIser = isIser;
  }

  /** What is wrong with the next FPDU, which is as long as it says; null for nothing. */
  check(fpdu: Buffer): string | null {
    const ulpdu = fpdu.subarray(LENGTH_FIELD, LENGTH_FIELD + fpdu.readUInt16BE(0));
    const end = fpdu.length - CRC;
    // Least significant byte first (RFC 5044 4.4).
    if (this.#hasCrc && crc32c(fpdu, 0, 0, end) !== fpdu.readUInt32LE(end)) return 'has a wrong CRC';
    if (ulpdu.length < 2) return 'is too short for any header';
    const [ddp, rdmap] = ulpdu as unknown as [number, number];
    if ((ddp & 0x03) !== 1 || rdmap >>> 6 !== 1) return 'has another version of DDP or RDMAP than 1';
    const opcode = OPCODES[rdmap & 0x0f];
    if (opcode === undefined) return `has the unknown opcode ${rdmap & 0x0f}`;
    const { name, headers, queue } = opcode;
    if (ulpdu.length < headers) return `is too short for a ${name}`;
    if (((ddp & 0x80) !== 0) !== (queue === null))
      return `of a ${name} is tagged and must not be, or the other way round`;
    return queue === null ? null : this.#checkUntagged(ulpdu, name, queue, (ddp & 0x40) !== 0);
  }

  #checkUntagged(ulpdu: Buffer, name: string, queue: number, isLast: boolean): string | null {
    const state = this.#queues[queue]!;
    const said = [6, 10, 14].map((at) => ulpdu.readUInt32BE(at));
    const expected = [queue, state.message, state.offset];
    if (said.some((value, i) => value !== expected[i])) {
      return `of a ${name} has queue, message and offset ${said.join(', ')} instead of ${expected.join(', ')}`;
    }
    const isFirst = state.offset === 0;
    state.offset += ulpdu.length - UNTAGGED;
    const fault =
      this.#isIser && queue === SEND_QUEUE ? this.#checkIser(ulpdu, isFirst, isLast, state.offset) : null;
    if (isLast) {
      state.message += 1;
      state.offset = 0;
    }
    return fault;
  }

  #checkIser(ulpdu: Buffer, isFirst: boolean, isLast: boolean, length: number): string | null {
    if (isFirst) {
      const payload = ulpdu.subarray(UNTAGGED);
      const opcode = payload.length === 0 ? 0 : payload[0]! >>> 4;
      const isHello = opcode === IserOpcode.HELLO || opcode === IserOpcode.HELLO_REPLY;
      if (!isHello && opcode !== IserOpcode.CONTROL) return `has the unknown iSER opcode ${opcode}`;
      const headers = isHello ? ISER : CONTROL;
      if (payload.length < headers) return 'is too short for its iSER header';
      // TotalAHSLength in words, and DataSegmentLength (RFC 7143 11.2.1).
      const rest = isHello ? 0 : payload[ISER + 4]! * 4 + payload.readUIntBE(ISER + 5, 3);
      this.#needed = headers + rest;
    }
    const isRight = length >= this.#needed && length <= this.#needed + 3;
    return isLast && !isRight ? `ends an iSER message of ${length} bytes that says ${this.#needed}` : null;
  }
}
