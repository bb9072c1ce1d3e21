/** From a URL to a LUN. */

import { hostname } from 'node:os';
import type { InitiatorAuthentication } from '../iscsi/index.js';
import { encodeLun } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import { sendCommand } from './command.js';
import { LunDevice } from './device.js';
import { Lun } from './lun.js';
import { Session, type SessionLimits, type SessionOptions } from './session.js';
import { inspectUnit, type Send } from './traits.js';
import { type IscsiUrl, parseIscsiUrl } from './url.js';

export interface ConnectOptions {
  /** iSCSI name of this initiator; made from the name of the host by default. */
  initiatorName?: string;
  /** Ask for CRC32C digests. */
  headerDigest?: boolean;
  dataDigest?: boolean;
  limits?: Partial<SessionLimits>;
  log?: Logger;
  /** Gives up connecting. */
  signal?: AbortSignal;
  authentication?: InitiatorAuthentication;
}

/** The initiator name of this machine, unless another one is given. */
export function defaultInitiatorName(): string {
  const host = hostname()
    .toLowerCase()
    .replace(/[^a-z0-9.-]/g, '-');
  return `iqn.2026-11.io.riser:${host}`;
}

/** What a session needs, from a URL and options. */
export function sessionOptions(url: IscsiUrl, options: ConnectOptions): SessionOptions {
  if (url.transport === 'iser') {
    throw new RiserError('TRANSPORT', 'iser:// is not there yet', {
      by: 'local',
      costs: 'task',
      remedy: 'The same target is reached over TCP by iscsi://.',
    });
  }
  const { initiatorName = defaultInitiatorName(), ...rest } = options;
  return { portal: url.portal, targetName: url.targetName, initiatorName, ...rest };
}

/**
 * Connect to a LUN.
 *
 * @param url `iscsi://[USER[%SECRET]@]HOST[:PORT]/TARGET-NAME/LUN`
 * @throws RiserError `URL`, `CONNECT`, `LOGIN_REFUSED`, `AUTHENTICATION`, `NO_SUCH_LUN` ...; the signal's reason when it is aborted
 *
 * @example
 * const lun = await connect('iscsi://192.0.2.7/iqn.2026-11.com.example:disk/0');
 * const first = await lun.read(0, lun.blockSize);
 * await lun.close();
 */
export async function connect(url: string, options: ConnectOptions = {}): Promise<Lun> {
  const parsed = parseIscsiUrl(url);
  if (parsed.targetName === null || parsed.lun === null) {
    throw new RiserError('URL', 'the URL names no LUN', {
      by: 'local',
      costs: 'task',
      remedy: 'Example: iscsi://192.0.2.7/iqn.2026-11.com.example:disk/0; riser ls lists what there is.',
    });
  }
  const session = await Session.open(sessionOptions(parsed, options));
  try {
    return await openLun(session, parsed.lun, {
      ...(options.signal !== undefined && { signal: options.signal }),
    });
  } catch (error) {
    await session.close();
    throw error;
  }
}

/**
 * A LUN of a session that is open; closing the LUN closes the session unless `keepSession` is set.
 *
 * @throws RiserError `NO_SUCH_LUN`, `NOT_A_DISK`, `MEDIUM`
 */
export async function openLun(
  session: Session,
  lun: number,
  { signal, keepSession = false }: { signal?: AbortSignal; keepSession?: boolean } = {},
): Promise<Lun> {
  const address = Buffer.alloc(8);
  encodeLun(lun, address, 0);
  const send: Send = (cdb, options) => sendCommand(session, address, cdb, options);
  const device = new LunDevice(session, {
    description: `${session.targetName!} LUN ${lun}`,
    lun: address,
    traits: await inspectUnit(send, signal),
    inspect: () => inspectUnit(send),
    release: () => (keepSession ? Promise.resolve() : session.close()),
  });
  return new Lun(device);
}
