/** `riser info`: all that a LUN tells of itself, and what the session with its target agreed on. */

import { type Lun, openLun, type Session, withSession } from '../../initiator/index.js';
import { cdbs, parseModePages } from '../../scsi/client/index.js';
import { Status } from '../../scsi/index.js';
import type { OperationalParameters } from '../../iscsi/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { parseUrl, requireLun, sessionOptionsOf } from '../connection-options.js';
import { ExitCode } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { print, printJson, table } from '../output.js';
import { formatPortal } from '../portal.js';
import { formatSize } from '../size.js';
import { describeTransport } from '../transport.js';
import { associationName, designatorName, deviceTypeName, hex, modePageName, vpdPageName } from './names.js';

const MODE_LENGTH = 4096;
const ALL_PAGES = 0x3f;
const ALL_SUBPAGES = 0xff;
const CACHING_PAGE = 0x08;
const CONTROL_PAGE = 0x0a;
const CHARACTERISTICS_PAGE = 0xb1;

export async function runInfo(text: string, flags: ClientFlags, { signal }: Interruption): Promise<number> {
  const url = parseUrl(text);
  requireLun(url);
  const info = await withSession(sessionOptionsOf(url, flags, signal), async (session) =>
    gather(session, await openLun([session], url.lun), url.lun),
  );
  if (flags.json === true) await printJson(info);
  else await print(describe(info));
  return ExitCode.SUCCESS;
}

type Info = Awaited<ReturnType<typeof gather>>;

async function gather(session: Session, lun: Lun, number: number) {
  const { traits, size, readOnly } = lun.device;
  const { inquiry, serialNumber, designators, limits, provisioning, pages } = traits.description;
  const { capacity } = traits;
  return {
    target: session.targetName!,
    lun: number,
    portal: session.portal,
    transport: session.transport,
    device: session.device,
    whyNotIser: session.whyNotIser,
    inquiry: { ...inquiry, type: deviceTypeName(inquiry.deviceType) },
    capacity: { ...capacity, size, physicalBlockSize: capacity.blockSize * 2 ** capacity.physicalExponent },
    readOnly,
    serialNumber,
    designators: designators.map(({ association, type, value }) => ({
      association: associationName(association),
      type: designatorName(type),
      value,
    })),
    limits,
    provisioning,
    mediumRotationRate: await rotationRate(lun, pages),
    vpdPages: await vpdPages(lun, pages),
    modePages: await modePages(lun),
    negotiated: negotiatedKeys(session.parameters),
  };
}

async function vpdPages(lun: Lun, codes: readonly number[]) {
  const pages = [];
  for (const code of codes) {
    const body = await lun.vitalProductData(code);
    pages.push({ page: hex(code), name: vpdPageName(code), body: body?.toString('hex') ?? null });
  }
  return pages;
}

/** Revolutions a minute, 1 for a medium that does not rotate (SBC-3 6.5.2); null if it is not told. */
async function rotationRate(lun: Lun, codes: readonly number[]): Promise<number | null> {
  if (!codes.includes(CHARACTERISTICS_PAGE)) return null;
  const body = await lun.vitalProductData(CHARACTERISTICS_PAGE);
  const rate = body !== null && body.length >= 2 ? body.readUInt16BE(0) : 0;
  return rate === 0 ? null : rate;
}

/** With subpages; a unit that knows none of those is asked without. */
async function modePages(lun: Lun) {
  const cdb = Buffer.alloc(16);
  const ask = (subpage: number) => {
    cdbs.modeSense10(cdb, ALL_PAGES, subpage, MODE_LENGTH);
    return lun.command(cdb, { readLength: MODE_LENGTH, isIdempotent: true });
  };
  let answer = await ask(ALL_SUBPAGES);
  if (answer.status !== Status.GOOD) answer = await ask(0);
  if (answer.status !== Status.GOOD) return [];
  return parseModePages(answer.data).map(({ page, subpage, body }) => ({
    page: hex(page),
    subpage: hex(subpage),
    name: modePageName(page, subpage),
    settings: subpage === 0 ? modeSettings(page, body) : [],
    body: body.toString('hex'),
  }));
}

/** What is set in a page, in the standard's abbreviations (SBC-3 6.4.5, SPC-4 7.5.8). */
function modeSettings(page: number, body: Buffer): string[] {
  const bits: Readonly<Record<string, boolean>> =
    page === CACHING_PAGE
      ? { WCE: (body[0]! & 0x04) !== 0, RCD: (body[0]! & 0x01) !== 0 }
      : page === CONTROL_PAGE
        ? {
            D_SENSE: (body[0]! & 0x04) !== 0,
            GLTSD: (body[0]! & 0x02) !== 0,
            SWP: (body[2]! & 0x08) !== 0,
            TAS: (body[3]! & 0x40) !== 0,
          }
        : {};
  return Object.keys(bits).filter((name) => bits[name]);
}

const yesNo = (value: boolean): string => (value ? 'Yes' : 'No');
const digest = (value: boolean): string => (value ? 'CRC32C' : 'None');

/** Under the names that they have on the wire (RFC 7143 13). */
function negotiatedKeys(p: OperationalParameters): Record<string, string | number> {
  return {
    HeaderDigest: digest(p.headerDigest),
    DataDigest: digest(p.dataDigest),
    MaxConnections: p.maxConnections,
    InitialR2T: yesNo(p.initialR2T),
    ImmediateData: yesNo(p.immediateData),
    'MaxRecvDataSegmentLength (initiator)': p.initiatorMaxRecvDataSegmentLength,
    'MaxRecvDataSegmentLength (target)': p.targetMaxRecvDataSegmentLength,
    MaxBurstLength: p.maxBurstLength,
    FirstBurstLength: p.firstBurstLength,
    MaxOutstandingR2T: p.maxOutstandingR2T,
    DataPDUInOrder: yesNo(p.dataPDUInOrder),
    DataSequenceInOrder: yesNo(p.dataSequenceInOrder),
    DefaultTime2Wait: p.defaultTime2Wait,
    DefaultTime2Retain: p.defaultTime2Retain,
    ErrorRecoveryLevel: p.errorRecoveryLevel,
    TaskReporting: p.taskReporting,
    iSCSIProtocolLevel: p.iSCSIProtocolLevel,
    RDMAExtensions: yesNo(p.rdmaExtensions),
    ...(p.rdmaExtensions && {
      InitiatorRecvDataSegmentLength: p.initiatorRecvDataSegmentLength,
      TargetRecvDataSegmentLength: p.targetRecvDataSegmentLength,
      MaxOutstandingUnexpectedPDUs: p.targetMaxOutstandingUnexpectedPDUs,
      MaxAHSLength: p.targetMaxAHSLength,
      TaggedBufferForSolicitedDataOnly: yesNo(p.taggedBufferForSolicitedDataOnly),
      iSERHelloRequired: yesNo(p.iSERHelloRequired),
    }),
  };
}

function describe(info: Info): string {
  const { inquiry, capacity, limits, provisioning } = info;
  const portal = formatPortal({ address: info.portal.host, port: info.portal.port });
  const blocks = (count: number): string => (count === 0 ? 'no limit told' : `${count} blocks`);
  const unmap = [
    ...(provisioning.unmap ? ['UNMAP'] : []),
    ...(provisioning.writeSameUnmaps ? ['WRITE SAME'] : []),
  ];
  const rate = info.mediumRotationRate;
  const sections: [string, string[][]][] = [
    [
      `${info.target} LUN ${info.lun} at ${portal}`,
      [
        ['type', `${inquiry.type}${inquiry.removable ? ', removable' : ''}`],
        ['vendor, product, revision', `${inquiry.vendor}, ${inquiry.product}, ${inquiry.revision}`],
        ['serial number', info.serialNumber ?? '-'],
        ['size', `${formatSize(capacity.size)} (${capacity.blocks} blocks of ${capacity.blockSize} bytes)`],
        ['physical block', `${capacity.physicalBlockSize} bytes`],
        ['read-only', info.readOnly ? 'yes' : 'no'],
        ['provisioning', capacity.isThin ? `thin, unmapped by ${unmap.join(' and ') || 'nothing'}` : 'full'],
        ['rotation', rate === null ? 'not told' : rate === 1 ? 'none' : `${rate} a minute`],
        ['longest transfer', blocks(limits.maximumTransfer)],
        ['longest unmap', blocks(limits.maximumUnmapBlocks)],
        ['longest write same', blocks(limits.maximumWriteSame)],
        ['longest compare and write', `${limits.maximumCompareAndWrite} blocks`],
        ['transport', describeTransport(info)],
      ],
    ],
    [
      'designators (VPD page 83h)',
      info.designators.map(({ association, type, value }) => [association, type, value]),
    ],
    ['VPD pages', info.vpdPages.map(({ page, name, body }) => [page, name, abbreviate(body ?? 'refused')])],
    [
      'mode pages',
      info.modePages.map(({ page, subpage, name, settings, body }) => [
        subpage === '0x00' ? page : `${page},${subpage}`,
        name,
        settings.length > 0 ? settings.join(' ') : abbreviate(body),
      ]),
    ],
    ['negotiated keys', Object.entries(info.negotiated).map(([key, value]) => [key, `${value}`])],
  ];
  return sections
    .map(([title, rows]) => table([[title]]) + table(rows.map((row) => [`  ${row[0]!}`, ...row.slice(1)])))
    .join('\n');
}

const LONGEST_HEX = 48;
function abbreviate(text: string): string {
  return text.length > LONGEST_HEX ? `${text.slice(0, LONGEST_HEX)}...` : text;
}
