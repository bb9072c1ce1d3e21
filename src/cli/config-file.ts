/**
 * The configuration file: YAML, checked against a schema, with errors that name line, column and key.
 * docs: README.md, "Configuration file".
 */

import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { isNode, isPair, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import { z } from 'zod';
import { alua, checkGroups } from './config-alua.js';
import {
  CDROM,
  type Configuration,
  type LunConfiguration,
  type ServerSecurity,
  type TargetConfiguration,
} from './configuration.js';
import { configurationError, messageOf } from './failure.js';
import { parseIsnsServer } from './isns-server.js';
import { LOG_LEVELS, type LogOptions } from './log.js';
import { parseName } from './name.js';
import { checkSize, nbdMedium } from './options.js';
import { access, auth, discovery, failedLogins, SecurityReader, toFailedLogins } from './config-security.js';
import { DEFAULT_PORTAL } from './portal.js';
import { leadsBack, redirect } from './config-redirect.js';
import { parsed, portal } from './schema.js';
import { parseSize } from './size.js';

/** A file's content: what is served, and how the log is written as far as the file says. */
export interface ConfigFile {
  configuration: Configuration;
  log: Partial<LogOptions>;
}

const size = parsed(
  z.union([z.int().positive(), z.string()], { error: 'must be a size such as 10G' }),
  (value) => (typeof value === 'number' ? value : parseSize(value)),
);

const isns = parsed(z.string({ error: 'must be an iSNS server, HOST[:PORT]' }), parseIsnsServer).optional();

const name = parsed(z.string({ error: 'must be an iSCSI name' }), parseName);

/** What YAML takes for a list, followed by something odd. */
const UNQUOTED_IPV6 = /^[\s-]*\[[0-9a-f:.]+\]:/i;

/** What a disk is unless the file says otherwise. */
const DISK = { readOnly: false, removable: false, provisioning: 'thin', blockSize: 512 } as const;

/** What a drive is by its nature, or what a disc has no use for. */
const NOT_OF_CDROM = [
  'memory',
  'create',
  'readOnly',
  'removable',
  'provisioning',
  'blockSize',
  'physicalBlockSize',
] as const;

const lun = z
  .strictObject({
    lun: z.int().min(0).max(255),
    type: z.enum(['disk', 'cdrom']).default('disk'),
    image: z.string().min(1).optional(),
    memory: size.optional(),
    nbd: parsed(z.string({ error: 'must be an NBD URI' }), nbdMedium).optional(),
    create: size.optional(),
    readOnly: z.boolean().optional(),
    removable: z.boolean().optional(),
    provisioning: z.enum(['thin', 'full']).optional(),
    blockSize: z.literal([512, 4096]).optional(),
    physicalBlockSize: z.literal([512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]).optional(),
    // SPC-4 7.8.15: the unit serial number is ASCII; INQUIRY data must hold it.
    serial: z
      .string()
      .regex(/^[\x21-\x7e]{1,32}$/, 'must be 1 to 32 printable ASCII characters')
      .optional(),
  })
  .superRefine((value, context) => {
    const complain = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    if ([value.image, value.memory, value.nbd].filter((medium) => medium !== undefined).length !== 1) {
      complain([], 'needs either image, memory or nbd');
    } else if (value.image === undefined) {
      if (value.create !== undefined) complain(['create'], 'goes with image only');
    }
    if (value.memory !== undefined) {
      if (value.readOnly) complain(['readOnly'], 'a read-only RAM disk would stay empty for ever');
    }
    if (value.type === 'cdrom') {
      for (const key of NOT_OF_CDROM) {
        if (value[key] !== undefined) complain([key], 'does not go with type: cdrom');
      }
      return;
    }
    const { blockSize = DISK.blockSize } = value;
    if (value.physicalBlockSize !== undefined && value.physicalBlockSize < blockSize) {
      complain(['physicalBlockSize'], 'must not be less than blockSize');
    }
    for (const key of ['memory', 'create'] as const) {
      const bytes = value[key];
      if (bytes === undefined) continue;
      try {
        checkSize({ memory: bytes }, blockSize);
      } catch (error) {
        complain([key], messageOf(error));
      }
    }
  });

/** Seconds, where there are tasks to retain. */
const DEFAULT_TIME2RETAIN = 20;

const recovery = z
  .strictObject({
    errorRecoveryLevel: z.union([z.literal(0), z.literal(1), z.literal(2)]).default(0),
    maxConnections: z.number().int().min(1).max(64).default(1),
    defaultTime2Retain: z.number().int().min(0).max(3600).optional(),
  })
  .transform(({ defaultTime2Retain, ...rest }) => ({
    ...rest,
    defaultTime2Retain: defaultTime2Retain ?? (rest.errorRecoveryLevel === 2 ? DEFAULT_TIME2RETAIN : 0),
  }))
  .optional();

const target = z
  .strictObject({
    name,
    alias: z.string().min(1).optional(),
    recovery,
    redirect,
    auth,
    access,
    alua,
    luns: z.array(lun).max(256).optional(),
  })
  .superRefine((value, context) => {
    if (value.luns === undefined && value.redirect === undefined)
      context.addIssue({ code: 'custom', path: [], message: 'needs luns, or redirect' });
  });

const file = z
  .strictObject({
    portals: z.array(portal).min(1).default([DEFAULT_PORTAL]),
    log: z
      .strictObject({ level: z.enum(LOG_LEVELS).optional(), format: z.enum(['text', 'json']).optional() })
      .default({}),
    discovery,
    failedLogins,
    isns,
    targets: z.array(target).min(1),
  })
  .superRefine((value, context) => {
    const once = (seen: Set<unknown>, item: unknown, path: (string | number)[], message: string) => {
      if (seen.has(item)) context.addIssue({ code: 'custom', path, message });
      seen.add(item);
    };
    const names = new Set<unknown>();
    const images = new Set<unknown>();
    value.targets.forEach(({ name, luns = [], alua, redirect }, i) => {
      once(names, name, ['targets', i, 'name'], 'another target has this name');
      checkGroups(alua?.groups ?? [], value.portals, (path, message) => {
        context.addIssue({ code: 'custom', path: ['targets', i, 'alua', ...path], message });
      });
      if (redirect !== undefined && leadsBack(redirect, value.portals)) {
        const path = ['targets', i, 'redirect', 'to'];
        context.addIssue({
          code: 'custom',
          path,
          message: 'is a portal of this server: nobody could log in',
        });
      }
      const numbers = new Set<unknown>();
      luns.forEach(({ lun, image }, j) => {
        once(
          numbers,
          lun,
          ['targets', i, 'luns', j, 'lun'],
          'another logical unit of this target has this number',
        );
        if (image !== undefined) {
          once(
            images,
            resolve(image),
            ['targets', i, 'luns', j, 'image'],
            'another logical unit serves this image',
          );
        }
      });
    });
  });

/** @throws RiserError `CONFIGURATION`, whose message has one line `FILE:LINE:COLUMN: KEY: PROBLEM` for each problem */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw configurationError(`cannot read the configuration file ${path}: ${messageOf(error)}`, error);
  }
  return parseConfigFile(text, path);
}

/**
 * @param path the file's name: for messages, and for the folder that relative image paths start from
 * @throws RiserError `CONFIGURATION`
 */
export function parseConfigFile(text: string, path: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const complaints: { offset: number; text: string }[] = [];
  const complain = (offset: number, key: string, problem: string) => {
    const { line, col } = lines.linePos(offset);
    complaints.push({ offset, text: `${path}:${line}:${col}: ${key === '' ? '' : `${key}: `}${problem}` });
  };
  const refuse = () => {
    complaints.sort((a, b) => a.offset - b.offset);
    return configurationError(complaints.map((complaint) => complaint.text).join('\n'));
  };

  for (const error of [...document.errors, ...document.warnings]) {
    const { line } = lines.linePos(error.pos[0]);
    const hint = UNQUOTED_IPV6.test(text.split('\n')[line - 1]!)
      ? ' (an IPv6 portal needs quotes: "[::1]:3260")'
      : '';
    complain(error.pos[0], '', error.message + hint);
  }
  if (complaints.length > 0) throw refuse();

  const result = file.safeParse(document.toJS(), { reportInput: false });
  if (!result.success) {
    for (const issue of result.error.issues) {
      const keys = issue.code === 'unrecognized_keys' ? issue.keys : [undefined];
      for (const key of keys) {
        const at = key === undefined ? issue.path : [...issue.path, key];
        complain(
          offsetOf(document, at),
          formatKey(at),
          key === undefined ? issue.message : 'there is no such key',
        );
      }
    }
    throw refuse();
  }
  const { portals, targets, log, isns } = result.data;
  const folder = dirname(resolve(path));
  const security = new SecurityReader(folder, (at, problem) => {
    complain(offsetOf(document, at), formatKey(at), problem);
  });
  const configuration: Configuration = {
    portals,
    ...(isns !== undefined && { isns }),
    ...toServerSecurity(result.data, security),
    targets: targets.map((each, i) => toTarget(each, folder, security, ['targets', i])),
  };
  security.finish();
  if (complaints.length > 0) throw refuse();
  return {
    configuration,
    log: {
      ...(log.level !== undefined && { level: log.level }),
      ...(log.format !== undefined && { json: log.format === 'json' }),
    },
  };
}

function toServerSecurity(from: z.infer<typeof file>, security: SecurityReader): ServerSecurity {
  const discoveryAuthentication = security.authentication(from.discovery.auth, ['discovery', 'auth']);
  const limits = toFailedLogins(from.failedLogins);
  return {
    ...(discoveryAuthentication !== undefined && { discoveryAuthentication }),
    ...(limits !== undefined && { failedLogins: limits }),
  };
}

function toTarget(
  from: z.infer<typeof target>,
  folder: string,
  security: SecurityReader,
  path: readonly (string | number)[],
): TargetConfiguration {
  const authentication = security.authentication(from.auth, [...path, 'auth']);
  const { luns = [] } = from;
  const numbers = luns.map(({ lun }) => lun);
  const rules = security.access(from.access, from.auth, numbers, [...path, 'access']);
  return {
    name: from.name,
    ...(from.alias !== undefined && { alias: from.alias }),
    ...(from.recovery !== undefined && { recovery: from.recovery }),
    ...(from.redirect !== undefined && { redirect: from.redirect }),
    ...(authentication !== undefined && { authentication }),
    ...(rules !== undefined && { access: rules }),
    ...(from.alua !== undefined && { alua: from.alua }),
    luns: luns.map((each) => toLun(each, folder)),
  };
}

function toLun(from: z.infer<typeof lun>, folder: string): LunConfiguration {
  const { lun, type, image, memory, nbd, create, serial, physicalBlockSize } = from;
  const {
    readOnly = DISK.readOnly,
    removable = DISK.removable,
    provisioning = DISK.provisioning,
    blockSize = DISK.blockSize,
  } = from;
  return {
    lun,
    ...(type === 'cdrom' ? CDROM : { type, readOnly, removable, provisioning, blockSize }),
    ...(serial !== undefined && { serial }),
    ...(physicalBlockSize !== undefined && { physicalBlockSize }),
    medium:
      nbd ??
      (image === undefined
        ? { memory: memory! }
        : { image: resolve(folder, image), ...(create !== undefined && { create }) }),
  };
}

/** Where the file has the key at `path`, or the nearest thing around it when it is missing. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const parent = document.getIn(path.slice(0, length - 1), true);
    const key = path[length - 1]!;
    if (typeof key === 'string' && isNode(parent) && 'items' in parent) {
      const pair = (parent.items as unknown[]).find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === key,
      );
      if (isPair(pair) && isNode(pair.key)) return pair.key.range?.[0] ?? 0;
    } else {
      const node = document.getIn(path.slice(0, length), true);
      if (isNode(node)) return node.range?.[0] ?? 0;
    }
  }
  return document.contents?.range?.[0] ?? 0;
}

/** `targets[0].luns[1].create` */
function formatKey(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}
