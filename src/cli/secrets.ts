/** Secrets, from where they are safe: a file that only its owner may read, or the environment. Never a command line. */

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { RiserError } from '../util/errors.js';
import { Secret } from '../util/secret.js';
import { messageOf } from './failure.js';

/** Where a secret is. */
export type SecretSource =
  | {
      /** Path of a file, whose mode must be 0600 or less. */
      file: string;
    }
  | {
      /** Name of an environment variable. */
      env: string;
    };

/** Bytes of the largest file that may hold a secret. */
const FILE_LIMIT = 1024;
/** There are no such permissions on Windows, nor pipes among the files. */
const IS_WINDOWS = process.platform === 'win32';
/** Permissions of group and others. */
const OTHERS = 0o077;

/**
 * The secret, of a file without the line end behind it. No error has a part of it.
 *
 * @throws RiserError `SECRET`
 */
export function readSecret(source: SecretSource, env: NodeJS.ProcessEnv = process.env): Secret {
  if ('file' in source) return readSecretFile(source.file);
  const value = env[source.env];
  if (value === undefined || value === '') {
    throw secretError(`the environment variable ${source.env} is not set`, 'Set it to the secret.');
  }
  return new Secret(value);
}

function readSecretFile(path: string): Secret {
  let descriptor: number;
  try {
    // Opening must not wait for whoever may be at the other end of a pipe.
    descriptor = openSync(path, IS_WINDOWS ? constants.O_RDONLY : constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw secretError(
      `cannot read the secret: ${messageOf(error)}`,
      'Make the file, readable by the user that runs riser.',
    );
  }
  try {
    // Of the file that is open, whatever the name may come to mean.
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw secretError(`${path} is no file`, 'Name a file with the secret in it.');
    if (!IS_WINDOWS && (status.mode & OTHERS) !== 0) {
      const mode = (status.mode & 0o777).toString(8).padStart(4, '0');
      throw secretError(`others may read ${path}, its mode is ${mode}`, `chmod 600 ${path}`);
    }
    const bytes = Buffer.alloc(FILE_LIMIT + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(descriptor, bytes, length, bytes.length - length, null);
    }
    if (length > FILE_LIMIT) {
      throw secretError(
        `${path} has more than ${FILE_LIMIT} bytes`,
        'Name a file with nothing but the secret in it.',
      );
    }
    if (bytes[length - 1] === 0x0a) length--;
    if (bytes[length - 1] === 0x0d) length--;
    if (length <= 0) throw secretError(`${path} is empty`, 'Write the secret into it.');
    return new Secret(bytes.subarray(0, length));
  } finally {
    closeSync(descriptor);
  }
}

function secretError(message: string, remedy: string): RiserError {
  return new RiserError('SECRET', message, { by: 'local', costs: 'process', remedy });
}
