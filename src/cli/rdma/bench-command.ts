/** The options of `riser rdma bench`. */

import { type Command, Option } from 'commander';
import { OPERATIONS } from '../../rdma/bench/plan.js';
import { parseWhole } from '../connection-flags.js';
import type { RdmaBenchFlags } from './bench.js';
import { crc, device, noCrc } from './device-options.js';
import { interruptible } from '../interruption.js';
import { parseSize } from '../size.js';

/** Where perftest's programs meet. */
const PERFTEST_PORT = 18_515;

/** `finish` takes the exit code. */
export function addRdmaBench(rdma: Command, finish: (exitCode: number) => void): void {
  rdma
    .command('bench')
    .description(
      "measure bandwidth or latency of RDMA; without HOST, wait for who does. The other side may be perftest's: ib_write_bw -R ...",
    )
    .argument('[host]', 'where the server is')
    .addOption(new Option('--operation <name>', 'what is measured (default: write)').choices([...OPERATIONS]))
    .option('--latency', 'round trips of single messages, instead of bandwidth')
    .option('--size <size>', 'bytes of a message (default: 64K, for latency 2)', parseSize)
    .option(
      '--iterations <number>',
      'messages (default: 1000, for bandwidth of writes 5000)',
      parseWhole(1, 1e9),
    )
    .option('--depth <number>', 'messages under way for bandwidth (default: 128)', parseWhole(1, 4096), 128)
    .option(
      '--port <number>',
      `where the server is (0: any that is free) (default: ${PERFTEST_PORT})`,
      parseWhole(0, 65_535),
      PERFTEST_PORT,
    )
    .option('--address <address>', 'server: listen on this one only (default: all)')
    .option('--persistent', 'server: go on after the first run, until a signal comes')
    .addOption(device())
    .addOption(crc())
    .addOption(noCrc())
    .option('--json', 'print the results as JSON')
    .action(async (host: string | undefined, flags: RdmaBenchFlags) => {
      const { runRdmaBench } = await import('./bench.js');
      finish(await interruptible((interruption) => runRdmaBench(host, flags, interruption)));
    });
}
