/** Riser in the guest, as it was built: a target of its own, and its other commands, on the RDMA devices that the guest has. */

import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

import { ROOT } from '../../test/support/files.js';
import type { Guest, ScriptOptions, ScriptResult } from './guest.js';
import { PROGRAM } from './host-riser.js';

/** The command, where the guest sees the same program as the host. */
export const GUEST_PROGRAM = `node ${join('/riser', relative(ROOT, PROGRAM))}`;

/** Seconds that Node needs in an emulated processor: to start, and to connect. */
const COMMAND_LIMIT = 180;

export const NAME = 'iqn.2026-11.lab:inside';
const PID_FILE = '/run/riser.pid';
const LOG = 'riser.log';

export interface GuestRiserOptions {
  /** Where it listens: what a configuration file says as well. */
  readonly portal: string;
  /** Size of its RAM disk; default 256M. */
  readonly memory?: string;
  /** Size of a file in the guest's memory instead, which outlasts the server. */
  readonly image?: string;
  /** A configuration file of the scenario's folder for {@link NAME}, instead. */
  readonly configuration?: string;
  /** More of its options. */
  readonly flags?: string;
}

export interface GuestRiser {
  /** Name of its only target. */
  readonly target: string;
  readonly portal: string;
  readonly lun: 0;
  readonly stop: () => Promise<void>;
  /** Its log, JSON lines. */
  readonly log: () => string;
}

/** Serve one LUN in the guest, one server at a time; `folder` is the scenario's, where its log is. */
export async function startGuestRiser(
  guest: Guest,
  folder: string,
  { portal, memory = '256M', image, configuration, flags = '' }: GuestRiserOptions,
): Promise<GuestRiser> {
  const medium = image === undefined ? `--memory ${memory}` : `/dev/shm/riser.img --create ${image}`;
  const what =
    configuration === undefined
      ? `${medium} --portal ${portal} --name ${NAME}`
      : `--config /lab/${configuration}`;
  await guest.sh(
    `ulimit -l unlimited
    rm -f /lab/${LOG}
    setsid ${GUEST_PROGRAM} serve ${what} ${flags} --json-logs --log-level debug >/lab/${LOG} 2>&1 &
    echo $! >${PID_FILE}
    until grep -q '"ready' /lab/${LOG}; do kill -0 $!; sleep 0.2; done`,
    { limit: COMMAND_LIMIT },
  );
  return {
    target: NAME,
    portal,
    lun: 0,
    log: () => readFileSync(join(folder, LOG), 'utf8'),
    stop: async () => {
      await guest.sh(`
        pid=$(cat ${PID_FILE})
        kill -TERM $pid
        tail --pid=$pid --sleep-interval=0.1 --follow /dev/null
        rm ${PID_FILE}`);
    },
  };
}

/** Run a command of Riser in the guest, such as `info URL`; what it prints. @throws Error when it fails */
export function riserInGuest(guest: Guest, args: string, options: ScriptOptions = {}): Promise<string> {
  return guest.sh(scriptOf(args), { limit: COMMAND_LIMIT, ...options });
}

/** The same, for a command that may fail. */
export function tryRiserInGuest(guest: Guest, args: string): Promise<ScriptResult> {
  return guest.run(scriptOf(args), { limit: COMMAND_LIMIT });
}

function scriptOf(args: string): string {
  return `ulimit -l unlimited; ${GUEST_PROGRAM} ${args}`;
}
