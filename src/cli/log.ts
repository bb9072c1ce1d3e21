/** The log of the commands: lines for people, or JSON for machines. */

import { Option } from 'commander';
import type { Logger } from '../util/logger.js';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogOptions {
  level: LogLevel;
  /** One JSON object a line: `level`, `time` (ISO 8601), `msg`, and the fields. */
  json: boolean;
}

/** The options of a command that has a log. */
export interface LogFlags {
  logLevel?: LogLevel;
  jsonLogs?: boolean;
}

export const logLevel = (fallback: LogLevel = 'info'): Option =>
  new Option('--log-level <level>', `least serious lines to print (default: ${fallback})`).choices([
    ...LOG_LEVELS,
  ]);
export const jsonLogs = (): Option => new Option('--json-logs', 'print the log as JSON, one object a line');

/** A logger that writes to standard output. */
export async function openLog(options: LogOptions): Promise<Logger> {
  return options.json ? jsonLog(options.level) : textLog(options.level, (line) => process.stdout.write(line));
}

/**
 * Lines such as `10:42:07 info  session opened`, followed by the fields that the message does not already tell.
 *
 * @param write takes one line with its line feed
 */
export function textLog(level: LogLevel, write: (line: string) => void): Logger {
  const lowest = LOG_LEVELS.indexOf(level);
  const logAt = (name: LogLevel) => {
    if (LOG_LEVELS.indexOf(name) < lowest) return () => {};
    return (message: string, fields?: object) => {
      const time = new Date().toTimeString().slice(0, 8);
      write(
        `${time} ${name.padEnd(5)} ${printable(message)}${fields ? formatFields(message, fields) : ''}\n`,
      );
    };
  };
  return { debug: logAt('debug'), info: logAt('info'), warn: logAt('warn'), error: logAt('error') };
}

async function jsonLog(level: LogLevel): Promise<Logger> {
  const { pino } = await import('pino');
  const log = pino({
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
  return {
    debug: (message, fields) => log.debug(fields ?? {}, message),
    info: (message, fields) => log.info(fields ?? {}, message),
    warn: (message, fields) => log.warn(fields ?? {}, message),
    error: (message, fields) => log.error(fields ?? {}, message),
  };
}

function formatFields(message: string, fields: object): string {
  let text = '';
  // A transport is `tcp` for programs and TCP for people.
  const told = message.toLowerCase();
  for (const [key, value] of Object.entries(fields) as [string, unknown][]) {
    if (value === undefined || value === null) continue;
    const shown =
      value instanceof Error ? value.message : typeof value === 'string' ? value : JSON.stringify(value);
    if (!told.includes(shown.toLowerCase()))
      text += ` ${key}=${printable(/\s/.test(shown) ? JSON.stringify(shown) : shown)}`;
  }
  return text;
}

/** `text` with control characters escaped: what a peer sent must not forge lines, nor command a terminal. */
export function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (character) => `\\x${Buffer.from(character, 'latin1').toString('hex')}`,
  );
}
