/** `--multipath` of the commands that move data, with a target of two portals. */

import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { CliProcess, type Outcome } from '../../test/support/cli-process.js';
import { EvilTarget } from '../../test/support/evil-target.js';
import { pattern } from '../../test/support/pattern.js';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { temporaryFolder } from '../../test/support/temporary.js';
import { VolatileDevice } from '../../test/support/volatile-device.js';
import { MultipathPolicy } from '../initiator/index.js';
import { Bhs, R2T } from '../iscsi/wire/headers.js';
import { Opcode, RESERVED_TAG } from '../iscsi/wire/opcodes.js';

const MIB = 1 << 20;
const SIZE = 16 * MIB;

describe('--multipath', () => {
  const folder = temporaryFolder();
  const file = (name: string): string => join(folder, name);
  const bytes = pattern(SIZE, 1);
  const source = file('source.img');
  // 15 ms an operation: a copy takes long enough to be met in the middle.
  const device = new VolatileDevice(SIZE, { delayMs: 15 });
  /** The target's ends of the connections that there are, and what the device had been through when they came. */
  const sockets = new Map<Socket, number>();
  const accepted = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    sockets.set(
      socket.once('close', () => sockets.delete(socket)),
      device.changes,
    );
  };
  let target: TestTarget;
  let ports: [number, number];

  before(async () => {
    writeFileSync(source, bytes);
    subscribe('net.server.socket', accepted);
    target = await TestTarget.start([{ device }]);
    ports = [target.port, (await target.server.listen({ address: '127.0.0.1', port: 0 })).port];
  });
  after(async () => {
    unsubscribe('net.server.socket', accepted);
    await target.close();
  });

  const run = (...args: string[]): Promise<Outcome> => new CliProcess(args).ended();
  const json = ({ exitCode, stdout, stderr }: Outcome): Record<string, unknown> => {
    assert.equal(exitCode, 0, stderr);
    return JSON.parse(stdout) as Record<string, unknown>;
  };

  for (const [i, policy] of Object.values(MultipathPolicy).entries()) {
    test(`${policy}: a copy goes on while the connections of one portal are cut`, async () => {
      const cutPort = ports[policy === MultipathPolicy.FAILOVER ? 0 : i % 2]!;
      const copy = new CliProcess([
        ...['copy', source, target.url(0), '--verify', '--depth', '4', '-q', '--json'],
        ...['--multipath', policy],
      ]);
      const [note] = await copy.noted(/.*paths to.*\n/);
      const where = ports.map((port) => `127.0.0.1:${port}`).join(', ');
      assert.equal(note, `2 paths to ${TARGET_NAME} LUN 0, ${policy}: ${where}\n`);
      let cuts = 0;
      const cutting = setInterval(() => {
        for (const [socket, changes] of sockets) {
          // Only when something was written meanwhile, so that it is work that is cut off, and not a login.
          if (socket.localPort !== cutPort || device.changes < changes + 2) continue;
          cuts++;
          socket.resetAndDestroy();
        }
      }, 10);
      const outcome = await copy.ended();
      clearInterval(cutting);
      const { verified, paths } = json(outcome);
      assert.deepEqual([verified, paths], [true, { source: null, destination: 2 }]);
      assert.ok(cuts > 0, 'a connection was cut while it was used');
      assert.match(outcome.stderr, /connection is lost|closed the connection/);
    });
  }

  test('read, write, compare, bench and nbd have it too', async () => {
    const url = target.url(0);
    const back = file('back.img');
    const read = new CliProcess(['read', url, '--multipath'], {
      wrapper: ['bash', '-c', `"$@" >${back}`, 'bash'],
    });
    const { exitCode, stderr } = await read.ended();
    assert.equal(exitCode, 0, stderr);
    assert.match(stderr, /^2 paths to .*, round-robin: /);
    assert.ok(readFileSync(back).equals(bytes));

    const write = new CliProcess(['write', url, '--json', '--multipath', 'failover']);
    write.child.stdin.end(bytes.subarray(0, 5000));
    assert.equal(json(await write.ended())['paths'], 2);
    const compared = json(await run('compare', source, url, '-q', '--json', '--multipath', 'least-queue'));
    assert.deepEqual([compared['equal'], compared['paths']], [true, { a: null, b: 2 }]);
    const measured = await run('bench', url, '--seconds', '0.2', '-q', '--json', '--multipath');
    assert.equal(json(measured)['paths'], 2);
    const nbd = new CliProcess(['nbd', url, '--portal', '127.0.0.1:0', '--json', '--multipath']);
    await nbd.printed(/\}\n/);
    assert.equal(json(await nbd.stop())['paths'], 2);
  });

  test('what cannot be is told: another policy, and that there is one portal only', async () => {
    const unknown = await run('read', target.url(0), '--multipath', 'fastest');
    assert.equal(unknown.exitCode, 2);
    assert.match(unknown.stderr, /Allowed choices are round-robin, least-queue, failover/);
    const single = await TestTarget.start([{ device: new VolatileDevice(MIB) }]);
    try {
      const write = new CliProcess(['write', single.url(0), '--json', '--multipath']);
      write.child.stdin.end(bytes.subarray(0, 512));
      const outcome = await write.ended();
      assert.equal(json(outcome)['paths'], 1);
      assert.match(outcome.stderr, /^1 path to .*: the target tells no other portal\n/);
    } finally {
      await single.close();
    }
  });

  test('portals that the target tells, and that nobody listens at, are named, with what to do', async () => {
    const evil = await EvilTarget.start((connection, pdu) => {
      if (pdu.opcode !== Opcode.TEXT_REQUEST) return false;
      connection.send(Opcode.TEXT_RESPONSE, {
        tag: Bhs.initiatorTaskTag.get(pdu.header),
        data: Buffer.from(`TargetName=${TARGET_NAME}\0TargetAddress=127.0.0.1:1,1\0`),
        set: (header) => R2T.targetTransferTag.set(header, RESERVED_TAG),
      });
      return true;
    });
    try {
      const outcome = await run('read', `iscsi://127.0.0.1:${evil.port}/${TARGET_NAME}/0`, '--multipath');
      assert.equal(outcome.exitCode, 1);
      assert.match(
        outcome.stderr,
        /^error: no portal .* can be connected to: 127\.0\.0\.1 port 1\nMake them reachable/,
      );
    } finally {
      await evil.close();
    }
  });
});
