/** The initiator's commands on the command line. Each one's module is imported when it is asked for. */

import { type Command, Option } from 'commander';
import {
  addConnectionOptions,
  addMultipath,
  type ClientFlags,
  parseSeconds,
  parseWhole,
} from './connection-flags.js';
import type { BenchFlags } from './bench/plan.js';
import type { PingFlags } from './inspect/ping.js';
import { type Interruption, interruptible } from './interruption.js';
import type { NbdFlags } from './nbd.js';
import { parsePortal } from './portal.js';
import { parseOffset, parseSize } from './size.js';
import type { CompareFlags } from './transfer/compare.js';
import type { CopyFlags } from './transfer/copy.js';
import type { RangeFlags } from './transfer/range.js';

/** The longest ping, bytes: what every target receives in a session (RFC 7143 13.12). */
const PING_LIMIT = 8192;
const DEPTH_LIMIT = 1024;

/** Runs a command, to its exit code. */
type Run = (command: (interruption: Interruption) => Promise<number>) => Promise<void>;

/** `finish` takes the exit code. */
export function addClientCommands(riser: Command, finish: (exitCode: number) => void): void {
  const run: Run = async (command) => {
    finish(await interruptible(command));
  };
  addInspection(riser, run);
  addTransfer(riser, run);
  addBench(riser, run);
  addNbd(riser, run);
}

function addInspection(riser: Command, run: Run): void {
  const discover = riser
    .command('discover')
    .description('list the targets behind a portal, or those that an iSNS server knows, and where they are')
    .argument('<portal>', 'HOST[:PORT] or iscsi://HOST[:PORT]; isns://HOST[:PORT] for an iSNS server')
    .action((portal: string, flags: ClientFlags) =>
      run(async (interruption) => {
        const { runDiscover } = await import('./inspect/discover.js');
        return runDiscover(portal, flags, interruption);
      }),
    );
  addConnectionOptions(discover, 'the targets');

  const ls = riser
    .command('ls')
    .description('list LUNs: of all targets behind a portal, or of one target')
    .argument('<url>', 'iscsi://HOST[:PORT][/TARGET-NAME]')
    .action((url: string, flags: ClientFlags) =>
      run(async (interruption) => {
        const { runLs } = await import('./inspect/ls.js');
        return runLs(url, flags, interruption);
      }),
    );
  addConnectionOptions(ls, 'the LUNs');

  const info = riser
    .command('info')
    .description('show what a LUN tells of itself, and what the session agreed on')
    .argument('<url>', 'iscsi://HOST[:PORT]/TARGET-NAME/LUN')
    .action((url: string, flags: ClientFlags) =>
      run(async (interruption) => {
        const { runInfo } = await import('./inspect/info.js');
        return runInfo(url, flags, interruption);
      }),
    );
  addConnectionOptions(info, 'everything');

  const ping = riser
    .command('ping')
    .description('measure round trips: of NOP-Out, or of SendTargets in a discovery session')
    .argument('<portal>', 'HOST[:PORT] for a discovery session, or iscsi://HOST[:PORT]/TARGET-NAME')
    .option('-c, --count <number>', 'stop after so many (default: Ctrl+C stops)', parseWhole(1, 1e9))
    .option(
      '-i, --interval <seconds>',
      'from one to the next (default: 1)',
      (text) => parseSeconds(text) * 1000,
      1000,
    )
    .option('-s, --size <bytes>', 'bytes of data (default: 56)', parseWhole(0, PING_LIMIT), 56)
    .action((portal: string, flags: PingFlags) =>
      run(async (interruption) => {
        const { runPing } = await import('./inspect/ping.js');
        return runPing(portal, flags, interruption);
      }),
    );
  addConnectionOptions(ping, 'the summary');

  const doctor = riser
    .command('doctor')
    .description(
      'tell what stands between this machine and iSER, and what to do about it; with a portal also which transports it answers, how fast',
    )
    .argument(
      '[portal]',
      'HOST[:PORT] or iscsi://HOST[:PORT]/TARGET-NAME; with /LUN it is read from, for 2 s',
    )
    .action((portal: string | undefined, flags: ClientFlags) =>
      run(async (interruption) => {
        const { runDoctor } = await import('./doctor/doctor.js');
        return runDoctor(portal, flags, interruption);
      }),
    );
  addConnectionOptions(doctor, 'the findings');
}

function addTransfer(riser: Command, run: Run): void {
  const offset = () =>
    new Option('--offset <size>', 'first byte, such as 1M (default: 0)').argParser(parseOffset);
  const length = (what: string) => new Option('--length <size>', what).argParser(parseSize);

  const read = riser
    .command('read')
    .description('write what is on a LUN to standard output')
    .argument('<url>', 'a LUN, or a file')
    .addOption(offset())
    .addOption(length('bytes (default: all that follow)'))
    .action((url: string, flags: RangeFlags) =>
      run(async (interruption) => {
        const { runRead } = await import('./transfer/read.js');
        return runRead(url, flags, interruption);
      }),
    );
  addMultipath(addConnectionOptions(read));

  const write = riser
    .command('write')
    .description('write standard input to a LUN')
    .argument('<url>', 'a LUN, or a file')
    .addOption(offset())
    .addOption(length('the most that may be written (default: all that fits)'))
    .action((url: string, flags: RangeFlags) =>
      run(async (interruption) => {
        const { runWrite } = await import('./transfer/write.js');
        return runWrite(url, flags, interruption);
      }),
    );
  addMultipath(addConnectionOptions(write, 'a summary'));

  const copy = riser
    .command('copy')
    .description('copy a disk; holes stay holes, and an interrupted copy can be resumed')
    .argument('<source>', 'a file, or a LUN as iscsi://HOST[:PORT]/TARGET-NAME/LUN')
    .argument('<destination>', 'the same; a file is made when it is missing')
    .option('--overwrite', 'the destination may be a file with data in it, or one of an interrupted copy')
    .option('--verify', 'read both sides and compare them afterwards')
    .option('--resume', 'go on with an interrupted copy')
    .option('--journal <file>', 'where to note how far it is (default: beside a file that is copied to)')
    .option('--depth <number>', 'pieces of 1 MiB in flight (default: 16)', parseWhole(1, 256), 16)
    .option('-q, --quiet', 'no progress')
    .action((source: string, destination: string, flags: CopyFlags) =>
      run(async (interruption) => {
        const { runCopy } = await import('./transfer/copy.js');
        return runCopy(source, destination, flags, interruption);
      }),
    );
  addMultipath(addConnectionOptions(copy, 'a summary'));

  const compare = riser
    .command('compare')
    .description(
      'compare two disks: exit code 0 when they are equal, 1 when they differ, 2 when that cannot be told',
    )
    .argument('<a>', 'a file, or a LUN')
    .argument('<b>', 'a file, or a LUN')
    .addOption(length('compare the first so many bytes only'))
    .option('--depth <number>', 'pieces of 1 MiB in flight (default: 16)', parseWhole(1, 256), 16)
    .option('-q, --quiet', 'no progress')
    .action((a: string, b: string, flags: CompareFlags) =>
      run(async (interruption) => {
        const { runCompare } = await import('./transfer/compare.js');
        return runCompare(a, b, flags, interruption);
      }),
    );
  addMultipath(addConnectionOptions(compare, 'the result'));
}

function addBench(riser: Command, run: Run): void {
  const bench = riser
    .command('bench')
    .description(
      'measure a LUN: I/Os a second, bandwidth, latencies; or compare several, or several ways to one, in turn',
    )
    .argument('<url...>', 'iscsi://HOST[:PORT]/TARGET-NAME/LUN; with two to eight of them it compares')
    .option('--seconds <number>', 'how long (default: 10)', parseSeconds, 10)
    .option(
      '--ramp-time <seconds>',
      'so long the load is on before it counts (default: 1)',
      parseWhole(0, 3600),
      1,
    )
    .option('--block-size <size>', 'bytes of an I/O (default: 4K)', parseSize, 4096)
    .option('--depth <number>', 'I/Os in flight in a session (default: 32)', parseWhole(1, DEPTH_LIMIT), 32)
    .option('--sessions <number>', 'sessions (default: 1)', parseWhole(1, 64), 1)
    .addOption(new Option('--random', 'at random places (default)').conflicts('sequential'))
    .option('--sequential', 'one after the other')
    .addOption(new Option('--write', 'write only; needs --destroy-data').conflicts('readPercent'))
    .option(
      '--read-percent <number>',
      'so many reads of a hundred, the others are writes',
      parseWhole(0, 100),
    )
    .option('--destroy-data', 'yes: writes may destroy what is on the LUN')
    .option('--rounds <number>', 'of a comparison: runs on each URL (default: 3)', parseWhole(1, 100))
    .option('--svg <file>', 'of a comparison: draw it')
    .option('-q, --quiet', 'no live plot, no progress')
    .action((urls: string[], flags: BenchFlags) =>
      run(async (interruption) => {
        const { runBench } = await import('./bench/bench.js');
        return runBench(urls, flags, interruption);
      }),
    );
  addMultipath(addConnectionOptions(bench, 'the results'));
}

function addNbd(riser: Command, run: Run): void {
  const nbd = riser
    .command('nbd')
    .description('serve a LUN over NBD, for QEMU, nbdcopy, nbd-client ... on this machine')
    .argument('<url>', 'iscsi://HOST[:PORT]/TARGET-NAME/LUN')
    .addOption(new Option('--socket <path>', 'listen on a Unix socket').conflicts('portal'))
    .option(
      '--portal <address:port>',
      'listen on a loopback address (port 0: any) (default: 127.0.0.1:10809)',
      parsePortal,
    )
    .option('--read-only', 'refuse writes')
    .action((url: string, flags: NbdFlags) =>
      run(async (interruption) => {
        const { runNbd } = await import('./nbd.js');
        return runNbd(url, flags, interruption);
      }),
    );
  addMultipath(addConnectionOptions(nbd, 'where it listens'));
}
