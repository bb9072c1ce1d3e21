/** `riser rdma` on the command line. Each command's module is imported when it is asked for. */

import { isIP } from 'node:net';
import { type Command, Option } from 'commander';
import { parseSeconds, parseWhole } from './connection-flags.js';
import { usageError } from './failure.js';
import { interruptible } from './interruption.js';
import { jsonLogs, logLevel } from './log.js';
import type { RdmaPingFlags } from './rdma/ping.js';
import { addRdmaBench } from './rdma/bench-command.js';
import { crc, device, noCrc } from './rdma/device-options.js';
import type { RdmaServeFlags } from './rdma/serve.js';

/** What rping listens on. */
const PING_PORT = 7174;
/** The most that a server has room for; a constant of its own, so that --help loads no RDMA. */
const PING_LIMIT = 64 * 1024;

/** `finish` takes the exit code. */
export function addRdmaCommands(riser: Command, finish: (exitCode: number) => void): void {
  const rdma = riser.command('rdma').description('remote memory: list devices, measure round trips');

  rdma
    .command('devices')
    .description('list RDMA devices, and why there are none of a kind')
    .option('--json', 'print the devices as JSON')
    .action(async (flags: { json?: boolean }) => {
      const { runDevices } = await import('./rdma/devices.js');
      finish(await runDevices(flags));
    });

  rdma
    .command('ping')
    .description(
      'measure round trips by RDMA Read and RDMA Write; the server is "riser rdma serve", or rping -s',
    )
    .argument('<host>', 'name or address of the server')
    .option('-C, --count <number>', 'stop after so many (default: Ctrl+C stops)', parseWhole(1, 1e9))
    .addOption(milliseconds('-i, --interval <seconds>', 'from one to the next', 1))
    .addOption(
      number(
        '-S, --size <bytes>',
        `bytes of data, to ${PING_LIMIT}; rping -s needs the same -S`,
        1,
        PING_LIMIT,
        64,
      ),
    )
    .option('-V, --verify', 'compare what comes back with what was sent')
    .addOption(new Option('-v, --verbose', 'show the data').conflicts('json'))
    .addOption(number('-p, --port <number>', 'of the server', 1, 65535, PING_PORT))
    .addOption(
      milliseconds('--timeout <seconds>', 'how long to wait for a connection, and for each answer', 10),
    )
    .addOption(device())
    .addOption(crc())
    .addOption(noCrc())
    .option('--json', 'print the summary as JSON')
    .action(async (host: string, flags: RdmaPingFlags) => {
      const { runRdmaPing } = await import('./rdma/ping.js');
      finish(await interruptible((interruption) => runRdmaPing(host, flags, interruption)));
    });

  rdma
    .command('serve')
    .description('answer "riser rdma ping" and rping -c, any number at once')
    .option(
      '-a, --address <address>',
      'listen here; 0.0.0.0 or :: for all (default: 127.0.0.1, reached from this machine only)',
      parseAddress,
    )
    .addOption(number('-p, --port <number>', 'listen here; 0: any', 0, 65535, PING_PORT))
    .option('-v, --verbose', 'show the data')
    .addOption(milliseconds('--timeout <seconds>', 'drop a client that is silent for so long', 60))
    .addOption(device())
    .addOption(crc())
    .addOption(noCrc())
    .addOption(logLevel())
    .addOption(jsonLogs())
    .action(async (flags: RdmaServeFlags) => {
      const { runRdmaServe } = await import('./rdma/serve.js');
      finish(await interruptible((interruption) => runRdmaServe(flags, interruption)));
    });

  addRdmaBench(rdma, finish);
}

/** An option for seconds, whose value is in milliseconds. */
function milliseconds(flags: string, description: string, seconds: number): Option {
  const parse = (text: string): number => parseSeconds(text) * 1000;
  return new Option(flags, description).argParser(parse).default(seconds * 1000, String(seconds));
}

function number(flags: string, description: string, least: number, most: number, fallback: number): Option {
  return new Option(flags, description).argParser(parseWhole(least, most)).default(fallback);
}

function parseAddress(text: string): string {
  if (isIP(text) === 0)
    throw usageError(`"${text}" is not an IP address`, 'Write one of this machine, such as 192.0.2.1.');
  return text;
}
