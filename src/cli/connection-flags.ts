/** What the commands that connect to a target have in common on the command line. */

import { type Command, Option } from 'commander';
import { MultipathPolicy } from '../initiator/multipath.js';
import { usageError } from './failure.js';
import { type LogFlags, logLevel } from './log.js';
import { parseName } from './name.js';

export interface ConnectionFlags extends LogFlags {
  initiatorName?: string;
  headerDigest?: boolean;
  dataDigest?: boolean;
  errorRecoveryLevel?: 0 | 1 | 2;
  connections?: number;
  /** Of RDMA, for iSER. */
  device?: string;
  /** Milliseconds. */
  timeout?: number;
  chapUser?: string;
  chapSecretFile?: string;
  chapTargetUser?: string;
  chapTargetSecretFile?: string;
  /** Of the commands that {@link addMultipath} gives it to. */
  multipath?: MultipathPolicy;
}

/** What every command of the initiator has. */
export interface ClientFlags extends ConnectionFlags {
  json?: boolean;
}

const URLS =
  '\nA URL begins with iscsi:// for TCP, iser:// for iSER, or auto:// for iSER where the target has it, else TCP.';

/** Add the options; `--json` where `result` says what is printed as JSON. */
export function addConnectionOptions(command: Command, result?: string): Command {
  if (result !== undefined) command.option('--json', `print ${result} as JSON`);
  return command
    .option('--initiator-name <iqn>', 'who to be (default: made from the name of this host)', parseName)
    .option('--header-digest', 'ask for CRC32C header digests; over TCP only')
    .option('--data-digest', 'ask for CRC32C data digests; over TCP only')
    .addOption(
      new Option(
        '--error-recovery-level <level>',
        'ask the target to send again what digests find damaged (1), and to let commands go on when their connection is lost (2), ' +
          'instead of a new session (0); over TCP only',
      ).argParser(parseLevel),
    )
    .option(
      '--connections <count>',
      'connections of a session to spread commands over, 1 to 64, if the target agrees; over TCP only (default: 1)',
      parseConnections,
    )
    .option(
      '--device <name>',
      'for iSER, as "riser rdma devices" lists it (default: an adapter that leads there, else software)',
    )
    .option(
      '--timeout <seconds>',
      'how long to wait for a connection, a login, and a target that went away (default: 10, 15, 120)',
      (text) => parseSeconds(text) * 1000,
    )
    .option('--chap-user <name>', 'who to log in as (default: the user of the URL)')
    .option(
      '--chap-secret-file <file>',
      'the secret, mode 0600 (default: the environment, RISER_CHAP_SECRET)',
    )
    .option('--chap-target-user <name>', 'who the target must prove to be')
    .option(
      '--chap-target-secret-file <file>',
      'what it proves it by, mode 0600 (default: the environment, RISER_CHAP_TARGET_SECRET)',
    )
    .addOption(logLevel('warn'))
    .addHelpText('after', URLS);
}

/** Add the option of commands that move a LUN's data. */
export function addMultipath(command: Command): Command {
  return command.addOption(
    new Option(
      '--multipath [policy]',
      'connect by all portals that the target tells, and spread commands over them (default policy: round-robin)',
    )
      .choices(Object.values(MultipathPolicy))
      .preset(MultipathPolicy.ROUND_ROBIN),
  );
}

const LEVELS = [0, 1, 2] as const;

/** @throws RiserError `USAGE` */
function parseLevel(text: string): 0 | 1 | 2 {
  const level = LEVELS.find((each) => String(each) === text);
  if (level !== undefined) return level;
  throw usageError(`${text} is no error recovery level`, 'Give 0, 1 or 2.');
}

/** @throws RiserError `USAGE` */
function parseConnections(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= 64) return count;
  throw usageError(`${text} is no number of connections`, 'Give a number from 1 to 64.');
}

/**
 * Seconds, more than 0, at most a week.
 *
 * @throws RiserError `USAGE`
 */
export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || seconds < 0.001 || seconds > 604_800)
    throw usageError(`"${text}" is no number of seconds`, 'Write a number from 0.001 to 604800.');
  return seconds;
}

/**
 * A parser of whole numbers.
 *
 * @throws RiserError `USAGE` when called with anything else than a number from `least` to `most`
 */
export function parseWhole(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (!/^\d+$/.test(text) || number < least || number > most)
      throw usageError(`"${text}" is no whole number from ${least} to ${most}`);
    return number;
  };
}
