/** `riser serve` and `riser demo` on the command line. */

import { hostname } from 'node:os';
import { type Command, Option } from 'commander';
import { usageError } from './failure.js';
import { parseIsnsServer } from './isns-server.js';
import { jsonLogs, type LogFlags, logLevel, openLog, type LogOptions } from './log.js';
import { parseName } from './name.js';
import { configurationFromOptions, type ServeOptions } from './options.js';
import { DEFAULT_PORTAL, formatPortal, parsePortal, type Portal } from './portal.js';
import { parseSize } from './size.js';

/** Options that describe what is served, which a configuration file does instead. */
const NOT_WITH_CONFIG = [
  'create',
  'readOnly',
  'portal',
  'name',
  'blockSize',
  'removable',
  'thin',
  'full',
  'memory',
  'cdrom',
  'isns',
];

const append =
  <T>(parse: (text: string) => T) =>
  (text: string, before: T[] | undefined) => [...(before ?? []), parse(text)];

/** `finish` takes the exit code. */
export function addServerCommands(riser: Command, finish: (exitCode: number) => void): void {
  riser
    .command('serve')
    .description('serve disk images, RAM disks, or what a configuration file says')
    .argument(
      '[image...]',
      'disk images, block devices or NBD exports (nbd://host/export): LUN 0, 1, ... of one target',
    )
    .option('--create <size>', 'make images that do not exist: sparse, SIZE such as 10G', parseSize)
    .option('--memory <size>', 'add a RAM disk (repeatable)', append(parseSize))
    .option('--cdrom <iso>', 'add a CD or DVD drive with this image as its disc (repeatable)', append(String))
    .option('--read-only', 'refuse writes')
    .option(
      '--portal <address:port>',
      `listen here (repeatable; port 0: any) (default: ${formatPortal(DEFAULT_PORTAL)}, reached from this machine only)`,
      append(parsePortal),
    )
    .option('--isns <host:port>', 'register with this iSNS server (default port: 3205)', parseIsnsServer)
    .option('--name <iqn>', 'the target name (default: made from the names of host and image)', parseName)
    .option('--block-size <bytes>', '512 or 4096 (default: 512)', parseBlockSize)
    .option('--removable', 'a removable medium: initiators may eject it')
    .addOption(
      new Option('--thin', 'thin provisioning: unmapped blocks are given back (default)').conflicts('full'),
    )
    .option('--full', 'full provisioning: no unmapping')
    .addOption(
      new Option('--config <file>', 'a YAML file instead; read anew on SIGHUP').conflicts(NOT_WITH_CONFIG),
    )
    .option('--huge-pages', 'data buffers on huge pages of 2 MiB, as long as the system has free ones')
    .addOption(logLevel())
    .addOption(jsonLogs())
    .action(async (images: string[], options: ServeOptions & ServeFlags & { config?: string }) => {
      finish(
        options.config === undefined
          ? await serveImages(images, options)
          : await serveFile(options.config, images, options),
      );
    });

  riser
    .command('demo')
    .description('serve a small demo volume on this machine, and print how to connect')
    .option('--portal <address:port>', `listen here (default: ${formatPortal(DEFAULT_PORTAL)})`, parsePortal)
    .addOption(logLevel())
    .action(async (options: LogFlags & { portal?: Portal }) => finish(await demo(options)));
}

/** What no configuration has. */
interface ServeFlags extends LogFlags {
  hugePages?: boolean;
}

async function serveImages(images: string[], options: ServeOptions & ServeFlags): Promise<number> {
  const configuration = configurationFromOptions(images, options, hostname());
  const { serve } = await import('./serve.js');
  return serve(configuration, await openLog(logOptions(options)), { hugePages: options.hugePages ?? false });
}

async function serveFile(path: string, images: string[], flags: ServeFlags): Promise<number> {
  if (images.length > 0)
    throw usageError('images and --config exclude each other: name the images in the file');
  const { readConfigFile } = await import('./config-file.js');
  const { configuration, log } = await readConfigFile(path);
  const { serve } = await import('./serve.js');
  return serve(configuration, await openLog(logOptions(flags, log)), {
    reread: async () => (await readConfigFile(path)).configuration,
    hugePages: flags.hugePages ?? false,
  });
}

async function demo(options: LogFlags & { portal?: Portal }): Promise<number> {
  const { connectionHelp, demoConfiguration } = await import('./demo.js');
  const configuration = demoConfiguration(options.portal ?? DEFAULT_PORTAL);
  const { serve } = await import('./serve.js');
  return serve(configuration, await openLog(logOptions(options)), {
    listening: ([portal]) =>
      process.stdout.write(`${connectionHelp(configuration.targets[0]!.name, portal!)}\n`),
  });
}

/** The command line's word counts before the file's. */
function logOptions(flags: LogFlags, file: Partial<LogOptions> = {}): LogOptions {
  return { level: flags.logLevel ?? file.level ?? 'info', json: flags.jsonLogs ?? file.json ?? false };
}

function parseBlockSize(text: string): 512 | 4096 {
  if (text === '512') return 512;
  if (text === '4096') return 4096;
  throw usageError(`a block size of "${text}" is not supported`, 'Choose 512 or 4096.');
}
