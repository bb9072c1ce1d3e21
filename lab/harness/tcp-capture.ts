/** The TCP connections of a capture: what each side sent, put together again whatever its segments were. */

const RECORD_HEADER = 16;
const FILE_HEADER = 24;
const MAGIC = 0xa1b2c3d4;
const ETHERNET = 14;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_TCP = 6;
const IP_HEADER = 20;
const TCP_HEADER = 20;
/** Where the payload begins in what {@link writePackets} writes. */
const HEADERS = ETHERNET + IP_HEADER + TCP_HEADER;

export const TcpFlag = { FIN: 0x01, SYN: 0x02, RST: 0x04, PSH: 0x08, ACK: 0x10 } as const;

interface Segment {
  /** Position of its first byte. */
  readonly at: number;
  readonly frame: number;
  readonly bytes: Buffer;
}

/** What one side sent. */
export class Direction {
  /** Such as `10.0.2.15:3260 > 10.0.2.2:40000`. */
  readonly name: string;
  /** Ethernet, IP and TCP headers of the SYN, without options. */
  readonly headers: Buffer;
  /** Sequence number of the first byte. */
  readonly initial: number;
  readonly synFrame: number;
  hasEnded = false;
  /** All bytes, once {@link assemble} was called. */
  bytes: Buffer = Buffer.alloc(0);
  readonly #segments: Segment[] = [];
  /** For each part of {@link bytes}, where it ends, and the frame with which all before that was there. */
  readonly #arrivals: { until: number; frame: number }[] = [];

  constructor(name: string, headers: Buffer, initial: number, synFrame: number) {
    this.name = name;
    this.headers = headers;
    this.initial = initial;
    this.synFrame = synFrame;
  }

  add(sequence: number, bytes: Buffer, frame: number): void {
    // Positions go below 2 GiB; what lies before the first byte is a keep-alive probe.
    const at = (sequence - this.initial) | 0;
    if (bytes.length > 0 && at >= 0) this.#segments.push({ at, frame, bytes });
  }

  /** Put all segments in order; null, or what is missing. */
  assemble(): string | null {
    const parts: Buffer[] = [];
    let next = 0;
    let frame = 0;
    let missing: string | null = null;
    for (const segment of this.#segments.sort((a, b) => a.at - b.at || a.frame - b.frame)) {
      const { at, bytes } = segment;
      if (at > next) {
        missing = `${this.name}: bytes ${next} to ${at - 1} are not in the capture`;
        break;
      }
      if (at + bytes.length <= next) continue;
      parts.push(bytes.subarray(next - at));
      next = at + bytes.length;
      frame = Math.max(frame, segment.frame);
      this.#arrivals.push({ until: next, frame });
    }
    this.bytes = Buffer.concat(parts);
    return missing;
  }

  /** The frame with which the byte before `position` was there. */
  frameOf(position: number): number {
    let [low, high] = [0, this.#arrivals.length - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#arrivals[middle]!.until < position) low = middle + 1;
      else high = middle;
    }
    return this.#arrivals[low]?.frame ?? this.synFrame;
  }
}

export interface TcpConnection {
  readonly active: Direction;
  /** Null: it was not accepted. */
  passive: Direction | null;
}

/** The connections in the file `pcap`, which QEMU wrote: Ethernet, IPv4, and packets that are not cut. */
export function tcpConnections(pcap: Buffer): TcpConnection[] {
  if (pcap.length < FILE_HEADER || pcap.readUInt32LE(0) !== MAGIC) throw new Error('not a capture of QEMU');
  const connections: TcpConnection[] = [];
  /** The one that a direction belongs to now: ports are used again. */
  const current = new Map<string, TcpConnection>();
  let frame = 0;
  for (let at = FILE_HEADER; at + RECORD_HEADER <= pcap.length;) {
    const length = pcap.readUInt32LE(at + 8);
    const packet = pcap.subarray(at + RECORD_HEADER, at + RECORD_HEADER + length);
    at += RECORD_HEADER + length;
    frame += 1;
    if (packet.length < HEADERS || packet.readUInt16BE(12) !== ETHERTYPE_IPV4) continue;
    if (packet[ETHERNET + 9] !== PROTOCOL_TCP) continue;
    const tcpAt = ETHERNET + (packet[ETHERNET]! & 0x0f) * 4;
    const end = ETHERNET + packet.readUInt16BE(ETHERNET + 2);
    const source = `${address(packet, ETHERNET + 12)}:${packet.readUInt16BE(tcpAt)}`;
    const destination = `${address(packet, ETHERNET + 16)}:${packet.readUInt16BE(tcpAt + 2)}`;
    const name = `${source} > ${destination}`;
    const sequence = packet.readUInt32BE(tcpAt + 4);
    const flags = packet[tcpAt + 13]!;
    const known = current.get(name);
    if ((flags & TcpFlag.SYN) !== 0) {
      const isAnswer = (flags & TcpFlag.ACK) !== 0;
      const direction = new Direction(name, headersOf(packet, tcpAt), (sequence + 1) >>> 0, frame);
      if (isAnswer) {
        if (known !== undefined) known.passive ??= direction;
      } else if (known?.active.initial !== direction.initial) {
        const connection: TcpConnection = { active: direction, passive: null };
        connections.push(connection);
        current.set(name, connection).set(`${destination} > ${source}`, connection);
      }
      continue;
    }
    const direction = known?.active.name === name ? known.active : known?.passive;
    if (direction === undefined || direction === null) continue;
    const payload = packet.subarray(tcpAt + (packet[tcpAt + 12]! >>> 4) * 4, end);
    if ((flags & TcpFlag.RST) === 0) direction.add(sequence, payload, frame);
    if ((flags & TcpFlag.FIN) !== 0) direction.hasEnded = true;
  }
  return connections;
}

function address(packet: Buffer, at: number): string {
  return packet.subarray(at, at + 4).join('.');
}

function headersOf(packet: Buffer, tcpAt: number): Buffer {
  const headers = Buffer.concat([
    packet.subarray(0, ETHERNET + IP_HEADER),
    packet.subarray(tcpAt, tcpAt + TCP_HEADER),
  ]);
  headers[ETHERNET] = 0x45;
  headers[ETHERNET + IP_HEADER + 12] = (TCP_HEADER / 4) << 4;
  return headers;
}

/** A packet to be written. */
export interface Packet {
  readonly direction: Direction;
  /** Position of its first byte; -1 for a SYN. */
  readonly at: number;
  /** At most 65495 bytes. */
  readonly bytes: Buffer;
  readonly flags: number;
}

/** A capture of `packets`; checksums are not right in it. */
export function writePackets(packets: readonly Packet[]): Buffer {
  const header = Buffer.alloc(FILE_HEADER);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(0x40000, 16);
  header.writeUInt32LE(1, 20);
  const parts: Buffer[] = [header];
  packets.forEach(({ direction, at, bytes, flags }, index) => {
    const record = Buffer.alloc(RECORD_HEADER + HEADERS);
    // A microsecond apart: only their order matters.
    record.writeUInt32LE(Math.floor(index / 1e6), 0);
    record.writeUInt32LE(index % 1e6, 4);
    record.writeUInt32LE(HEADERS + bytes.length, 8);
    record.writeUInt32LE(HEADERS + bytes.length, 12);
    direction.headers.copy(record, RECORD_HEADER);
    record.writeUInt16BE(IP_HEADER + TCP_HEADER + bytes.length, RECORD_HEADER + ETHERNET + 2);
    record.writeUInt32BE((direction.initial + at) >>> 0, RECORD_HEADER + ETHERNET + IP_HEADER + 4);
    record[RECORD_HEADER + ETHERNET + IP_HEADER + 13] = flags;
    parts.push(record, bytes);
  });
  return Buffer.concat(parts);
}
