/** The initiator's commands as processes that signals end. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { CliProcess } from '../../test/support/cli-process.js';
import { pattern } from '../../test/support/pattern.js';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { temporaryFolder } from '../../test/support/temporary.js';
import { VolatileDevice } from '../../test/support/volatile-device.js';

const MIB = 1 << 20;
const SIZE = 24 * MIB;

const folder = temporaryFolder();

/** Run `use` with a target, and tell how sessions with it ended. */
async function withTarget(
  device: VolatileDevice,
  use: (target: TestTarget, ends: readonly string[]) => Promise<void>,
): Promise<void> {
  const target = await TestTarget.start([{ device }]);
  const ends: string[] = [];
  target.server.events = {
    sessionOpened: () => undefined,
    sessionClosed: (_, reason) => void ends.push(reason),
  };
  try {
    await use(target, ends);
  } finally {
    await target.close();
  }
}

describe('a signal while a command connects', () => {
  const commands: [NodeJS.Signals, (where: string) => string[]][] = [
    ['SIGINT', (portal) => ['discover', portal]],
    ['SIGTERM', (portal) => ['ls', `iscsi://${portal}`]],
    ['SIGINT', (portal) => ['ping', portal]],
    ...(['info', 'read', 'write', 'bench', 'nbd'] as const).map(
      (command, i): [NodeJS.Signals, (portal: string) => string[]] => [
        i % 2 === 0 ? 'SIGINT' : 'SIGTERM',
        (portal) => [command, `iscsi://${portal}/${TARGET_NAME}/0`],
      ],
    ),
    [
      'SIGTERM',
      (portal) => ['copy', `iscsi://${portal}/${TARGET_NAME}/0`, join(folder, 'never.img'), '--json'],
    ],
    ['SIGINT', (portal) => ['compare', `iscsi://${portal}/${TARGET_NAME}/0`, `nbd://${portal}`]],
    ['SIGINT', (portal) => ['compare', `nbd://${portal}`, `iscsi://${portal}/${TARGET_NAME}/0`]],
  ];

  test('ends it with 130 or 143, and it says that nothing was reached', async () => {
    // It accepts connections, and answers nothing.
    const silent = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const portal = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
    for (const [signal, args] of commands) {
      const connected = once(silent, 'connection');
      const command = new CliProcess(args(portal));
      await connected;
      const { exitCode, stdout, stderr } = await command.stop(signal);
      const expected = [
        signal === 'SIGINT' ? 130 : 143,
        '',
        `${signal}: stopping; once more to stop without waiting\ninterrupted before it was done\n`,
      ];
      assert.deepEqual([exitCode, stdout, stderr], expected, args(portal).join(' '));
    }
    assert.equal(existsSync(join(folder, 'never.img')), false);
    silent.close();
  });
});

describe('a signal while riser read or write is at it', () => {
  test('read logs out, and says how far it was', () =>
    withTarget(new VolatileDevice(SIZE, { delayMs: 400 }), async (target, ends) => {
      const read = new CliProcess(['read', target.url(0)]);
      // More than one piece of it.
      while (read.stdout.length < 1.5 * MIB) await delay(20);
      const { exitCode, stderr } = await read.stop('SIGINT');
      const said = /\ninterrupted: the first (\d+) of 25165824 bytes were read\n$/.exec(stderr);
      assert.equal(exitCode, 130, stderr);
      const done = Number(said?.[1]);
      assert.ok(done > 0 && done < SIZE, stderr);
      assert.deepEqual(ends, ['logout']);
    }));

  test('read does not wait for a reader that does not read', () =>
    withTarget(new VolatileDevice(SIZE), async (target, ends) => {
      const read = new CliProcess(['read', target.url(0)]);
      read.child.stdout.pause();
      while (read.child.stdout.readableLength === 0) await delay(20);
      // Until nothing more fits between the two.
      await delay(100);
      const exited = once(read.child, 'exit');
      read.child.kill('SIGTERM');
      assert.deepEqual(await exited, [143, null]);
      read.child.stdout.resume();
      await read.ended();
      assert.deepEqual(ends, ['logout']);
    }));

  test('write makes stable what came, logs out, and says how much it was', async () => {
    const device = new VolatileDevice(SIZE);
    await withTarget(device, async (target, ends) => {
      for (const [signal, code] of [
        ['SIGINT', 130],
        ['SIGTERM', 143],
      ] as const) {
        const bytes = pattern(3 * MIB + 512, code);
        const { changes } = device;
        const write = new CliProcess(['write', target.url(0), '--offset', '1M', '--json']);
        write.child.stdin.write(bytes);
        // Three whole pieces; the input goes on, and the rest of it is not yet on its way.
        while (device.changes < changes + 3) await delay(20);
        const { exitCode, stdout, stderr } = await write.stop(signal);
        assert.equal(exitCode, code, stderr);
        assert.match(
          stderr,
          new RegExp(`\\ninterrupted: ${bytes.length} bytes written at ${MIB}, and made stable\\n$`),
        );
        assert.deepEqual(JSON.parse(stdout), {
          offset: MIB,
          bytes: bytes.length,
          paths: 1,
          interruptedBy: signal,
        });
        device.losePower();
        assert.ok(
          device
            .content()
            .subarray(MIB, MIB + bytes.length)
            .equals(bytes),
        );
      }
      assert.deepEqual(ends, ['logout', 'logout']);
    });
  });

  test('a second signal ends it at once', () =>
    withTarget(new VolatileDevice(SIZE, { delayMs: 3000 }), async (target) => {
      const read = new CliProcess(['read', target.url(0)]);
      while (target.server.sessions().length === 0) await delay(20);
      await delay(200);
      read.child.kill('SIGINT');
      await read.noted(/SIGINT: stopping/);
      const { exitCode, stdout, stderr } = await read.stop('SIGINT');
      assert.deepEqual([exitCode, stdout], [130, '']);
      assert.doesNotMatch(stderr, /interrupted/);
    }));
});
