import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { textLog, type LogLevel } from './log.js';

/** The lines that `use` logs, without their time. */
function lines(level: LogLevel, use: (log: ReturnType<typeof textLog>) => void): string[] {
  const written: string[] = [];
  use(textLog(level, (line) => written.push(line)));
  return written.map((line) => {
    assert.match(line, /^\d\d:\d\d:\d\d .*\n$/s);
    return line.slice(9, -1);
  });
}

describe('log for people', () => {
  test('a line has level and message', () => {
    assert.deepEqual(
      lines('debug', (log) => {
        log.info('hello');
        log.warn('careful');
      }),
      ['info  hello', 'warn  careful'],
    );
  });

  test('lines below the level are dropped', () => {
    const all = (log: ReturnType<typeof textLog>) => {
      for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level](level);
    };
    assert.deepEqual(lines('warn', all), ['warn  warn', 'error error']);
    assert.equal(lines('debug', all).length, 4);
  });

  test('fields are appended unless the message tells them already', () => {
    const fields = {
      port: 3260,
      transport: 'tcp',
      reason: 'two words',
      error: new Error('broken'),
      none: null,
      absent: undefined,
    };
    assert.deepEqual(
      lines('info', (log) => log.info('listening on 127.0.0.1:3260 over TCP', fields)),
      ['info  listening on 127.0.0.1:3260 over TCP reason="two words" error=broken'],
    );
  });

  test('what a peer sent cannot forge a line', () => {
    assert.deepEqual(
      lines('info', (log) =>
        log.info('session opened: a\n12:00:00 info  forged', { name: 'b\u001b[31m\n', c: '\u009b' }),
      ),
      ['info  session opened: a\\x0a12:00:00 info  forged name="b\\u001b[31m\\n" c=\\x9b'],
    );
  });
});
