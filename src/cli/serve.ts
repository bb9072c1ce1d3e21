/** Runs a server from its configuration until a signal stops it. */

import { performance } from 'node:perf_hooks';
import { TargetServer, type SessionInfo } from '../target/index.js';
import type { Logger } from '../util/logger.js';
import type { Configuration } from './configuration.js';
import { ExitCode, messageOf } from './failure.js';
import type { Portal } from './portal.js';
import { Service } from './service.js';
import { SOFTWARE, transportName } from './transport.js';

/** How long sessions may take to log out after they were asked to, milliseconds. */
const GRACE = 3000;

export interface ServeHooks {
  /** Reads the configuration anew on SIGHUP; absent where there is no file to read. */
  reread?: () => Promise<Configuration>;
  /** Called once when initiators can connect, with the ports that the portals really have. */
  listening?: (portals: Portal[]) => void;
  /** Data buffers are to be on huge pages. */
  hugePages?: boolean;
}

/**
 * Serve until SIGINT or SIGTERM; without a file to read anew, until SIGHUP too, as the end of a terminal sends it.
 *
 * @returns the exit code
 * @throws RiserError when it cannot start
 */
export async function serve(
  configuration: Configuration,
  log: Logger,
  hooks: ServeHooks = {},
): Promise<number> {
  const server = new TargetServer({ log, hugePages: hooks.hugePages ?? false });
  server.events = {
    sessionOpened: (session) => log.info(`session opened: ${describe(session)}`, fieldsOf(session)),
    sessionClosed: (session, reason) =>
      log.info(`session closed: ${describe(session)}: ${reason}`, { ...fieldsOf(session), reason }),
  };
  const service = new Service(server, log);
  const { listening, reread } = hooks;
  // Before it starts, so that a signal at any time stops it in order.
  const stopped = stopSignal(
    reread === undefined ? ['SIGINT', 'SIGTERM', 'SIGHUP'] : ['SIGINT', 'SIGTERM'],
    log,
  );
  const started = service.start(configuration);
  let isServing = true;
  let work: Promise<unknown> = started;
  if (reread !== undefined) {
    process.on('SIGHUP', () => {
      if (!isServing) return;
      work = work
        .then(reread)
        .then((next) => service.reload(next))
        .catch((error: unknown) => log.error(`everything stays as it was: ${messageOf(error)}`));
    });
  }
  const portals = await started;
  listening?.(portals);
  log.info(`ready after ${Math.round(performance.now())} ms; Ctrl+C stops`);
  await stopped;
  isServing = false;
  await work;
  await service.close(GRACE);
  log.info('stopped');
  return ExitCode.SUCCESS;
}

/** `iqn.1993-08.org.debian:01:abc (127.0.0.1:41234) as alice on iqn.2001-04.com.example:disk over TCP` */
function describe({ initiatorName, user, peer, targetName, transport, device }: SessionInfo): string {
  const as = user === null ? '' : ` as ${user}`;
  return `${initiatorName} (${peer})${as} ${targetName === null ? 'for discovery' : `on ${targetName}`} over ${transportName(transport, device)}`;
}

/** What tools look for in the JSON log. */
function fieldsOf({ initiatorName, user, peer, targetName, transport, device }: SessionInfo): object {
  const isAdapter = device !== null && device !== SOFTWARE;
  return { initiatorName, user, peer, targetName, transport, ...(isAdapter && { device }) };
}

/** Resolves at the first of the signals; another one after that ends the process at once. */
function stopSignal(signals: NodeJS.Signals[], log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false;
    for (const signal of signals) {
      process.on(signal, (_name: NodeJS.Signals, number: number) => {
        if (isStopping) process.exit(ExitCode.SIGNAL + number);
        isStopping = true;
        log.info(`${signal}: stopping; once more to stop without waiting`);
        resolve();
      });
    }
  });
}
