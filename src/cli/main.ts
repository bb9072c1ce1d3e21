/** The command `riser`. What only one command or option needs is imported when it is asked for. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addClientCommands } from './client-commands.js';
import { describeFailure, ExitCode, exitCodeOf } from './failure.js';
import { addRdmaBench } from './rdma-bench-command.js';
import { addServerCommands } from './server-commands.js';

function program(finish: (exitCode: number) => void): Command {
  const riser = new Command('riser')
    .description('iSCSI: serves disk images and RAM disks to any initiator, and uses the LUNs of any target.')
    .version(version())
    .exitOverride()
    .showHelpAfterError('(--help lists the options)');
  addServerCommands(riser, finish);
  addClientCommands(riser, finish);
  const rdma = riser.command('rdma').description('remote memory (RDMA), here in software: iWARP over TCP');
  addRdmaBench(rdma, finish);
  return riser;
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

// A reader of the output that goes away, such as `head`, is no reason to stop serving.
process.stdout.on('error', () => {});

try {
  await program((exitCode) => process.exit(exitCode)).parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? ExitCode.SUCCESS : ExitCode.USAGE;
  } else {
    process.stderr.write(`${describeFailure(error)}\n`);
    process.exit(exitCodeOf(error));
  }
}
