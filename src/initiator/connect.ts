/** From a URL to a LUN. */

import { hostname } from 'node:os';
import type { InitiatorAuthenticationOptions } from '../iscsi/index.js';
import { encodeLun } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import { getU32 } from '../util/fields.js';
import type { Logger } from '../util/logger.js';
import { Secret } from '../util/secret.js';
import { sendCommand } from './command.js';
import { LunDevice } from './device.js';
import { discover } from './discovery.js';
import { Lun } from './lun.js';
import { Multipath, MultipathPolicy } from './multipath.js';
import type { DeviceChoice } from './rdma-devices.js';
import {
  type AccessReport,
  isAccessStateChanged,
  NO_ACCESS,
  rankOf,
  reportAccess,
  reportGroups,
} from './path-access.js';
import { Session } from './session.js';
import { DEFAULT_SESSION_LIMITS, type SessionLimits, type SessionOptions } from './session-options.js';
import type { TaskPath } from './task.js';
import {
  describeUnit,
  inspectMedium,
  inspectUnit,
  type Send,
  type UnitDescription,
  type UnitTraits,
} from './traits.js';
import { type IscsiUrl, parseIscsiUrl, type PortalAddress } from './url.js';

export interface ConnectOptions extends DeviceChoice {
  /** iSCSI name of this initiator; made from the name of the host by default. */
  initiatorName?: string;
  /** With `iser://`: see {@link SessionOptions.streamingMode}. */
  streamingMode?: boolean;
  /** Ask for CRC32C digests. */
  headerDigest?: boolean;
  dataDigest?: boolean;
  /** See {@link SessionOptions.errorRecoveryLevel}. */
  errorRecoveryLevel?: 0 | 1 | 2;
  /** See {@link SessionOptions.connections}. */
  connections?: number;
  limits?: Partial<SessionLimits>;
  log?: Logger;
  /** Use every portal that the target tells, and spread tasks like this; only the URL's by default. */
  multipath?: MultipathPolicy;
  /** Gives up connecting. */
  signal?: AbortSignal;
  /** CHAP; a user and a secret in the URL say the same for one-way CHAP. */
  authentication?: InitiatorAuthenticationOptions;
}

/** The initiator name of this machine, unless another one is given. */
export function defaultInitiatorName(): string {
  const host = hostname()
    .toLowerCase()
    .replace(/[^a-z0-9.-]/g, '-');
  return `iqn.2026-11.io.riser:${host}`;
}

/** What a session needs, from a URL and options. */
export function sessionOptions(url: IscsiUrl, options: Omit<ConnectOptions, 'multipath'>): SessionOptions {
  const { initiatorName = defaultInitiatorName(), ...rest } = options;
  const { user, secret } = url;
  const authentication =
    options.authentication ??
    (user === null || secret === null ? null : { user: { name: user, secret: new Secret(secret) } });
  return {
    portal: url.portal,
    transport: url.transport,
    targetName: url.targetName,
    initiatorName,
    ...rest,
    authentication,
  };
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
  const { targetName, lun } = parsed;
  if (targetName === null || lun === null) {
    throw new RiserError('URL', 'the URL names no LUN', {
      by: 'local',
      costs: 'task',
      remedy: 'Example: iscsi://192.0.2.7/iqn.2026-11.com.example:disk/0; riser ls lists what there is.',
    });
  }
  const { multipath, ...others } = options;
  const settings = sessionOptions(parsed, others);
  const sessions =
    multipath === undefined ? [await Session.open(settings)] : await openPaths(settings, targetName);
  const close = async (): Promise<void> => {
    await Promise.all(sessions.map((session) => session.close()));
  };
  try {
    return await openLun(sessions, lun, { ...options, release: close });
  } catch (error) {
    await close();
    throw error;
  }
}

/** A session by each portal that the target tells; those that cannot be reached now are looked for on. */
async function openPaths(settings: SessionOptions, targetName: string): Promise<Session[]> {
  const targets = await discover(settings);
  const portals = targets.find(({ name }) => name === targetName)?.portals ?? [settings.portal];
  const attempts = await Promise.allSettled(portals.map((portal) => Session.open({ ...settings, portal })));
  const opened = attempts.filter((attempt) => attempt.status === 'fulfilled');
  if (settings.signal?.aborted === true) {
    await Promise.all(opened.map(({ value }) => value.close()));
    throw settings.signal.reason;
  }
  if (opened.length === 0) throw noPath(portals, (attempts[0] as PromiseRejectedResult).reason as RiserError);
  return attempts.map((attempt, i) => {
    if (attempt.status === 'fulfilled') return attempt.value;
    const reason = attempt.reason as RiserError;
    settings.log?.warn(reason.message);
    return Session.openLater({ ...settings, portal: portals[i]! }, reason);
  });
}

/** Why no path came about: where nobody was reached, with all the places that were tried. */
function noPath(portals: readonly PortalAddress[], reason: RiserError): RiserError {
  if (reason.code !== 'CONNECT') return reason;
  const where = portals.map(({ host, port }) => `${host} port ${port}`).join(', ');
  return new RiserError('CONNECT', `no portal that the target tells can be connected to: ${where}`, {
    by: 'peer',
    costs: 'session',
    cause: reason,
    remedy:
      'Make them reachable from here, or go without multipath: then the portal of the URL is the only one.',
  });
}

export interface OpenLunOptions {
  /** How tasks are spread, when there are several sessions; round-robin by default. */
  multipath?: MultipathPolicy;
  limits?: Partial<SessionLimits>;
  signal?: AbortSignal;
  /** Called when the LUN is closed; by default the sessions stay open. */
  release?: () => Promise<void>;
}

/**
 * A LUN of one or several open sessions with its target.
 *
 * @throws RiserError `NO_SUCH_LUN`, `NOT_A_DISK`, `MEDIUM`; `LUN_CHANGED` when the sessions lead to different LUNs
 */
export async function openLun(
  sessions: readonly Session[],
  lun: number,
  options: OpenLunOptions = {},
): Promise<Lun> {
  const { signal, release = () => Promise.resolve() } = options;
  const address = Buffer.alloc(8);
  encodeLun(lun, address, 0);
  const isRdma = sessions.some((session) => session.mayBeRdma);
  const sending =
    (path: TaskPath): Send =>
    (cdb, commandOptions) =>
      sendCommand(path, address, cdb, commandOptions);
  const inspect = (path: TaskPath, until?: AbortSignal): Promise<UnitTraits> =>
    inspectUnit(sending(path), isRdma, until);
  const look = (path: TaskPath, until?: AbortSignal): Promise<Look> => lookAt(sending(path), isRdma, until);
  const connected = sessions.filter((session) => session.isConnected);
  if (connected.length === 0) throw new RangeError('no session is connected');
  const looks = await Promise.all(connected.map((session) => look(session, signal)));
  for (const other of looks.slice(1)) checkIdentity(looks[0]!, other);
  const traits = looks.find((one) => one.traits !== null)?.traits ?? (await inspect(connected[0]!, signal));
  const recoveryTimeoutMs = options.limits?.recoveryTimeoutMs ?? DEFAULT_SESSION_LIMITS.recoveryTimeoutMs;
  const policy = options.multipath ?? MultipathPolicy.ROUND_ROBIN;
  const multipath =
    sessions.length === 1
      ? null
      : new Multipath(sessions, policy, recoveryTimeoutMs, (session) => reportGroups(sending(session)));
  const learn = (session: Session, { access }: Look): void => {
    if (access !== null) multipath?.learnAccess(session, access.group, access.groups);
  };
  looks.forEach((one, i) => {
    learn(connected[i]!, one);
  });
  const path = multipath ?? sessions[0]!;
  const device = new LunDevice(path, {
    description: `${sessions[0]!.targetName!} LUN ${lun}`,
    lun: address,
    traits,
    inspect: () => inspect(path),
    release,
  });
  for (const session of sessions) {
    session.watchers.add({
      // A target that was started anew may serve another disk under the old name.
      recheck: async (connection) => {
        const now = await look(connection);
        checkIdentity({ description: device.traits.description, traits: device.traits }, now);
        learn(session, now);
        if (now.traits !== null) device.adopt(now.traits);
      },
      unitAttention: (task, sense) => {
        if (task.lunHigh !== getU32(address, 0) || task.lunLow !== getU32(address, 4)) return;
        if (isAccessStateChanged(sense)) multipath?.accessChanged();
        // Whoever works on the LUN hears of a failure by their own commands.
        if (sense.asc === CAPACITY_CHANGED.asc && sense.ascq === CAPACITY_CHANGED.ascq)
          device.refresh().catch(() => undefined);
      },
    });
  }
  return new Lun(device);
}

/** CAPACITY DATA HAS CHANGED (SBC-3 4.10) */
const CAPACITY_CHANGED = { asc: 0x2a, ascq: 0x09 };

/** What a unit tells by one path. */
interface Look {
  readonly description: UnitDescription;
  /** Null where there is no asymmetric access. */
  readonly access: AccessReport | null;
  /** Null where the target port gives no access to the medium now. */
  readonly traits: UnitTraits | null;
}

async function lookAt(send: Send, isRdma: boolean, signal?: AbortSignal): Promise<Look> {
  const description = await describeUnit(send, signal);
  const access = await reportAccess(send, description, signal);
  const isAccessible = access === null || rankOf(access.group, access.groups) < NO_ACCESS;
  const traits = isAccessible ? await inspectMedium(send, description, isRdma, signal) : null;
  return { description, access, traits };
}

type Named = Pick<Look, 'description' | 'traits'>;

/** @throws RiserError `LUN_CHANGED` when two descriptions are of different logical units, by the names that they tell */
function checkIdentity(before: Named, now: Named): void {
  const identity = ({ description }: Named): string =>
    [
      description.serialNumber ?? '',
      ...description.designators.filter(({ association }) => association === 0).map(({ value }) => value),
    ].join(' ');
  const [old, size] = [before, now].map(({ traits }) => traits?.capacity.blockSize ?? null);
  const isSameSize = old === null || size === null || old === size;
  if (identity(before) === identity(now) && isSameSize) return;
  throw new RiserError('LUN_CHANGED', 'the LUN is another disk than it was: it has another identity', {
    by: 'peer',
    costs: 'session',
    remedy: 'Nothing was sent to it. Look at what the target serves, and connect anew.',
  });
}
