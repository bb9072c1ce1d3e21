/** What tshark's dissectors think of the packets that were captured. */

import { readFileSync, writeFileSync } from 'node:fs';

import { runToSuccess } from '../../test/support/run-program.js';
import { walkFpdus } from './fpdu-walk.js';
import { tcpConnections, writePackets } from './tcp-capture.js';

/** A packet in which a dissector found something wrong. */
interface Finding {
  frame: number;
  /** The dissector, such as `iSCSI`. */
  protocol: string;
  text: string;
}

/** What a capture is about; iSER is iWARP whose Sends are iSER's. */
export type CapturedProtocol = 'iSCSI' | 'iWARP' | 'iSER';

export interface Inspection {
  /** PDUs of iSCSI, or FPDUs of MPA, in the capture. */
  pdus: number;
  /** A line for each malformed packet. */
  malformed: string[];
}

/** MPA is recognised by itself, if nothing else is expected at its port; but what is on top of it wrongly. */
const IWARP = [
  ...['-o', 'tcp.try_heuristic_first:TRUE'],
  ...['--disable-protocol', 'rpcordma', '--disable-protocol', 'smb_direct'],
];

/** Read the capture `file`, in which iSCSI runs on `ports`, or iWARP on any. */
export async function inspectCapture(
  file: string,
  protocol: CapturedProtocol,
  ports: readonly number[],
): Promise<Inspection> {
  if (protocol !== 'iSCSI') return inspectFpdus(file, protocol === 'iSER');
  const decode = ports.flatMap((port) => ['-d', `tcp.port==${port},iscsi`]);
  const { count, malformed } = await dissect(file, 'iscsi.opcode', decode);
  return { pdus: count, malformed };
}

/** Whether each reply of MPA's startup in the capture `file` says that CRCs are used; one of them for each connection. */
export async function usesOfCrc(file: string): Promise<boolean[]> {
  const fields = ['-Y', 'iwarp_mpa.rep', '-T', 'fields', '-e', 'iwarp_mpa.crc_flag'];
  const rows = await runToSuccess('tshark', ['-n', '-r', file, ...IWARP, ...fields]);
  return rows.split(/\s+/).flatMap((flag) => (flag === '' ? [] : [flag === '1']));
}

/** tshark is given the FPDUs one by one: it loses their borders where much data comes. */
async function inspectFpdus(file: string, isIser: boolean): Promise<Inspection> {
  const { fpdus, faults, packets } = walkFpdus(tcpConnections(readFileSync(file)), isIser);
  const walked = `${file}.fpdus`;
  writeFileSync(walked, writePackets(packets));
  const { count, malformed } = await dissect(walked, 'iwarp_mpa.ulpdulength', IWARP);
  if (count !== fpdus) faults.push(`tshark sees ${count} FPDUs in ${walked}, and there are ${fpdus}`);
  return { pdus: fpdus, malformed: [...faults, ...malformed] };
}

/** What tshark finds in `file`; `field` is one that every PDU has. */
async function dissect(
  file: string,
  field: string,
  options: readonly string[],
): Promise<{ count: number; malformed: string[] }> {
  const tshark = (...args: string[]): Promise<string> =>
    runToSuccess('tshark', ['-n', '-r', file, ...options, ...args]);
  const rows = await tshark(
    '-Y',
    `${field} || _ws.malformed`,
    '-T',
    'fields',
    '-e',
    field,
    '-e',
    '_ws.malformed',
  );
  const columns = rows.split('\n').map((row) => row.split('\t'));
  const values = columns.flatMap(([value = '']) => value.split(','));
  const hasMalformed = columns.some(([, malformed = '']) => malformed !== '');
  const details = hasMalformed ? await tshark('-Y', '_ws.malformed', '-V') : '';
  return {
    count: values.filter((value) => value !== '').length,
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
