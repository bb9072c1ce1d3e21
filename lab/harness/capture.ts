/** What tshark's dissectors think of the packets that were captured. */

import { runToSuccess } from '../../test/support/run-program.js';

/** A packet in which a dissector found something wrong. */
interface Finding {
  frame: number;
  /** The dissector, such as `iSCSI`. */
  protocol: string;
  text: string;
}

/** What a capture is about. */
export type CapturedProtocol = 'iSCSI' | 'iWARP';

export interface Inspection {
  /** PDUs of iSCSI, or FPDUs of MPA, in the capture. */
  pdus: number;
  /** A line for each malformed packet. */
  malformed: string[];
}

/** A field that every PDU has. MPA is recognised by itself, but what is on top of it wrongly. */
const PROTOCOLS = {
  iSCSI: { field: 'iscsi.opcode', options: [] },
  iWARP: {
    field: 'iwarp_mpa.ulpdulength',
    options: ['--disable-protocol', 'rpcordma', '--disable-protocol', 'smb_direct'],
  },
} as const;

/** Read the capture `file`, in which iSCSI runs on `ports`, or iWARP on any. */
export async function inspectCapture(
  file: string,
  protocol: CapturedProtocol,
  ports: readonly number[],
): Promise<Inspection> {
  const { field, options } = PROTOCOLS[protocol];
  const decode = protocol === 'iSCSI' ? ports.flatMap((port) => ['-d', `tcp.port==${port},iscsi`]) : [];
  const tshark = (...args: string[]): Promise<string> =>
    runToSuccess('tshark', ['-n', '-r', file, ...decode, ...options, ...args]);
  const opcodes = await tshark('-Y', field, '-T', 'fields', '-e', field);
  const details = await tshark('-Y', '_ws.malformed', '-V');
  return {
    pdus: opcodes.split(/[\n,]/).filter((opcode) => opcode !== '').length,
    malformed: findings(details)
      .filter((finding) => !isCutAtItsAllocationLength(finding) && !isShortBlockLimitsPage(finding))
      .map(({ frame, protocol, text }) => `frame ${frame}, ${protocol}:\n${text}`),
  };
}

/** The malformed packets in what `tshark -V` prints. */
function findings(details: string): Finding[] {
  return details.split(/^(?=Frame \d+: )/m).flatMap((packet) => {
    const frame = Number(/^Frame (\d+)/.exec(packet)?.[1]);
    return [...packet.matchAll(/\[Malformed Packet: (.*?)\]/g)].map((match) => {
      const start = Math.max(
        packet.lastIndexOf('\niSCSI', match.index),
        packet.lastIndexOf('\niWARP', match.index),
      );
      return { frame, protocol: match[1]!, text: packet.slice(start === -1 ? 0 : start, match.index).trim() };
    });
  });
}

/**
 * The SCSI dissector knows the Block Limits page of SBC-3 only. That of SBC-2 has 16 bytes behind its header, and LIO
 * answers so for a unit that does not unmap.
 */
function isShortBlockLimitsPage({ protocol, text }: Finding): boolean {
  return protocol === 'SCSI' && /Page Code: Block Limits Page[^]*\n\s+Page Length: 16\n/.test(text);
}

/**
 * The SCSI dissector reads on where an answer ends because the initiator asked for no more: Linux first asks
 * for four bytes of a VPD page. Such an answer has no underflow; what a target itself cuts short has one.
 */
function isCutAtItsAllocationLength({ protocol, text }: Finding): boolean {
  return (
    protocol === 'SCSI' && text.includes('SCSI Data In') && text.includes('No residual underflow occurred')
  );
}
