/** `riser ls`: the LUNs of one target, or of all targets behind a portal. */

import {
  discover,
  type DiscoveredTarget,
  type IscsiUrl,
  openLun,
  type PortalAddress,
  schemeOf,
  sendCommand,
  type Session,
  withSession,
} from '../../initiator/index.js';
import { decodeLun, encodeLun, Status } from '../../scsi/index.js';
import { cdbs, parseReportLuns, parseStandardInquiry } from '../../scsi/client/index.js';
import { RiserError } from '../../util/errors.js';
import type { ClientFlags } from '../connection-flags.js';
import { parsePortalOrUrl, sessionOptionsOf } from '../connection-options.js';
import { ExitCode, messageOf } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { print, printJson, table } from '../output.js';
import { formatPortal } from '../portal.js';
import { formatSize } from '../size.js';
import { deviceTypeName } from './names.js';

/** A LUN as it is listed; what a device has that is no disk is null. */
interface ListedLun {
  lun: number;
  url: string;
  type: string;
  vendor: string;
  product: string;
  revision: string;
  serialNumber: string | null;
  /** Bytes. */
  size: number | null;
  blockSize: number | null;
  readOnly: boolean | null;
  thin: boolean | null;
  /** Why it could not be looked at. */
  error: string | null;
}

interface ListedTarget {
  name: string;
  portal: PortalAddress;
  luns: ListedLun[];
  /** Why it could not be logged in to. */
  error: string | null;
}

/** Room for as many LUNs as there are numbers. */
const REPORT_LENGTH = 8 + 8 * 16384;
const INQUIRY_LENGTH = 255;
/** Device types that have blocks: disks, and CD or DVD drives. */
const WITH_BLOCKS = [0x00, 0x05];

export async function runLs(text: string, flags: ClientFlags, { signal }: Interruption): Promise<number> {
  const url = parsePortalOrUrl(text);
  const targets =
    url.targetName === null
      ? await listPortal(url, flags, signal)
      : [await listTarget(url, { name: url.targetName, portal: url.portal }, flags, signal)];
  if (flags.json === true) await printJson({ targets });
  else await print(describe(url, targets));
  const isWhole = targets.every(
    ({ error, luns }) => error === null && luns.every((lun) => lun.error === null),
  );
  return isWhole ? ExitCode.SUCCESS : ExitCode.FAILURE;
}

/** What is wrong with one target does not hide the others. */
async function listPortal(url: IscsiUrl, flags: ClientFlags, signal: AbortSignal): Promise<ListedTarget[]> {
  const listed: ListedTarget[] = [];
  for (const target of await discover(sessionOptionsOf(url, flags, signal))) {
    const at = { name: target.name, portal: nearest(target, url.portal) };
    try {
      listed.push(await listTarget(url, at, flags, signal));
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RiserError)) throw error;
      listed.push({ ...at, luns: [], error: error.message });
    }
  }
  return listed;
}

/** The portal that was asked, if the target is there too: its other ones may not be reached from here. */
function nearest({ portals }: DiscoveredTarget, asked: PortalAddress): PortalAddress {
  const { host, port } =
    portals.find((one) => one.host === asked.host && one.port === asked.port) ?? portals[0]!;
  return { host, port };
}

async function listTarget(
  url: IscsiUrl,
  { name, portal }: { name: string; portal: PortalAddress },
  flags: ClientFlags,
  signal: AbortSignal,
): Promise<ListedTarget> {
  const options = sessionOptionsOf({ ...url, targetName: name, portal }, flags, signal);
  return withSession(options, async (session) => {
    const luns: ListedLun[] = [];
    for (const lun of url.lun === null ? await reportLuns(session) : [url.lun]) {
      signal.throwIfAborted();
      luns.push(await look(session, lun, urlOf(url, portal, name)));
    }
    signal.throwIfAborted();
    return { name, portal, luns, error: null };
  });
}

/** With the transport that was asked for. */
function urlOf({ transport }: IscsiUrl, { host, port }: PortalAddress, name: string): string {
  return `${schemeOf(transport)}://${formatPortal({ address: host, port })}/${name}`;
}

async function reportLuns(session: Session): Promise<number[]> {
  const cdb = Buffer.alloc(16);
  cdbs.reportLuns(cdb, REPORT_LENGTH);
  const answer = await sendCommand(session, Buffer.alloc(8), cdb, {
    readLength: REPORT_LENGTH,
    isIdempotent: true,
  });
  const luns = answer.status === Status.GOOD ? parseReportLuns(answer.data) : [];
  return luns
    .map((lun) => decodeLun(lun, 0))
    .filter((lun) => lun >= 0)
    .sort((a, b) => a - b);
}

/** `url` is that of the target. */
async function look(session: Session, lun: number, url: string): Promise<ListedLun> {
  const address = Buffer.alloc(8);
  encodeLun(lun, address, 0);
  const cdb = Buffer.alloc(16);
  cdbs.inquiry(cdb, null, INQUIRY_LENGTH);
  const answer = await sendCommand(session, address, cdb, { readLength: INQUIRY_LENGTH, isIdempotent: true });
  const inquiry = answer.status === Status.GOOD ? parseStandardInquiry(answer.data) : null;
  const listed: ListedLun = {
    lun,
    url: `${url}/${lun}`,
    type: inquiry === null ? 'unknown' : deviceTypeName(inquiry.deviceType),
    vendor: inquiry?.vendor ?? '',
    product: inquiry?.product ?? '',
    revision: inquiry?.revision ?? '',
    serialNumber: null,
    size: null,
    blockSize: null,
    readOnly: null,
    thin: null,
    error: null,
  };
  if (inquiry === null || (inquiry.qualifier === 0 && WITH_BLOCKS.includes(inquiry.deviceType))) {
    try {
      const { device } = await openLun([session], lun);
      const { traits, size, blockSize, readOnly } = device;
      const { serialNumber } = traits.description;
      Object.assign(listed, { size, blockSize, readOnly, thin: traits.capacity.isThin, serialNumber });
    } catch (error) {
      if (!(error instanceof RiserError)) throw error;
      listed.error = messageOf(error);
    }
  }
  return listed;
}

function describe(asked: IscsiUrl, targets: readonly ListedTarget[]): string {
  if (targets.length === 0) return 'no targets for this initiator\n';
  const rows = [['URL', 'SIZE', 'TYPE', 'VENDOR', 'PRODUCT', 'SERIAL NUMBER']];
  for (const { name, portal, luns, error } of targets) {
    const where = urlOf(asked, portal, name);
    if (error !== null) rows.push([where, `error: ${error}`]);
    else if (luns.length === 0) rows.push([where, 'no LUNs for this initiator']);
    for (const lun of luns) {
      if (lun.error !== null) rows.push([lun.url, `error: ${lun.error}`]);
      else {
        const size = lun.size === null ? '-' : formatSize(lun.size);
        rows.push([lun.url, size, lun.type, lun.vendor, lun.product, lun.serialNumber ?? '-']);
      }
    }
  }
  return table(rows);
}
