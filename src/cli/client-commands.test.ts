/** `riser discover`, `ls`, `info`, `ping` and `bench` as processes against a target. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { CliProcess, type Outcome } from '../../test/support/cli-process.js';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { MemoryDevice } from '../block/index.js';

const MIB = 1 << 20;

const run = (...args: string[]): Promise<Outcome> => new CliProcess(args).ended();
async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { exitCode, stdout, stderr } = await run(...args, '--json');
  assert.equal(exitCode, 0, stderr);
  return JSON.parse(stdout) as Record<string, unknown>;
}

let target: TestTarget;
let portal: string;
let url: string;
before(async () => {
  target = await TestTarget.start([
    { device: new MemoryDevice({ size: 8 * MIB }) },
    { device: new MemoryDevice({ size: 4 * MIB, blockSize: 4096, thin: false }), provisioning: 'full' },
  ]);
  portal = `127.0.0.1:${target.port}`;
  url = `iscsi://${portal}/${TARGET_NAME}`;
});
after(() => target.close());

describe('riser discover, ls, info', () => {
  test('discover lists targets with their portals', async () => {
    assert.deepEqual(await json('discover', `iscsi://${portal}`), {
      transport: 'tcp',
      device: null,
      whyNotIser: null,
      targets: [
        { name: TARGET_NAME, portals: [{ host: '127.0.0.1', port: target.port, portalGroupTag: 1 }] },
      ],
    });
    assert.equal((await run('discover', portal)).stdout, `${TARGET_NAME}  ${portal},1\n`);
  });

  test('discover of an iSNS server: what goes wrong is told with a remedy', async () => {
    const away = await run('discover', 'isns://127.0.0.1:1');
    assert.equal(away.exitCode, 1);
    assert.match(
      away.stderr,
      /^error: the iSNS server 127\.0\.0\.1:1 cannot be reached: .*ECONNREFUSED.*\nLook whether it runs/,
    );
    const wrong = await run('discover', 'isns://127.0.0.1:0');
    assert.deepEqual([wrong.exitCode, wrong.stderr.includes('is not an iSNS server')], [2, true]);
    const session = await run('discover', 'isns://127.0.0.1', '--header-digest');
    assert.deepEqual(
      [session.exitCode, session.stderr.includes('--header-digest is for targets')],
      [2, true],
    );
    // A target answers an iSNS request with nothing, or with an end.
    const other = await run('discover', `isns://${portal}`, '--timeout', '1');
    assert.deepEqual([other.exitCode, other.stderr.includes('the iSNS server')], [1, true], other.stderr);
  });

  test('ls lists the LUNs of a portal and of a target alike', async () => {
    const whole = await json('ls', `iscsi://${portal}`);
    assert.deepEqual(await json('ls', url), whole);
    const [listed] = whole['targets'] as { name: string; error: null; luns: Record<string, unknown>[] }[];
    assert.deepEqual([listed!.name, listed!.error], [TARGET_NAME, null]);
    const common = { type: 'disk', vendor: 'RISER', product: 'Disk', readOnly: false, error: null };
    listed!.luns.forEach((lun, i) => {
      const { revision, serialNumber, ...rest } = lun;
      assert.deepEqual([typeof revision, typeof serialNumber], ['string', 'string']);
      const each = [
        { size: 8 * MIB, blockSize: 512, thin: true },
        { size: 4 * MIB, blockSize: 4096, thin: false },
      ][i];
      assert.deepEqual(rest, { ...common, lun: i, url: `${url}/${i}`, ...each });
    });
    assert.match((await run('ls', url)).stdout, /^URL .*\n.*\/0 +8 MiB +disk +RISER +Disk .*\n.*\/1 +4 MiB /);
  });

  test('recovery and further connections are asked for, as far as the target has them', async () => {
    const keys = async (...options: string[]): Promise<unknown[]> => {
      const info = await json('info', `${url}/1`, ...options);
      const negotiated = info['negotiated'] as Record<string, number>;
      return [negotiated['ErrorRecoveryLevel'], negotiated['MaxConnections']];
    };
    assert.deepEqual(await keys('--error-recovery-level', '1', '--connections', '3'), [0, 1]);
    for (const wrong of [
      ['--connections', '65'],
      ['--error-recovery-level', '3'],
    ])
      assert.equal((await run('info', `${url}/1`, ...wrong)).exitCode, 2);
  });

  test('info tells everything of a LUN', async () => {
    const info = await json('info', `${url}/1`, '--header-digest', '--data-digest');
    assert.deepEqual(Object.keys(info).sort(), [
      'capacity',
      'designators',
      'device',
      'inquiry',
      'limits',
      'lun',
      'mediumRotationRate',
      'modePages',
      'negotiated',
      'portal',
      'provisioning',
      'readOnly',
      'serialNumber',
      'target',
      'transport',
      'vpdPages',
      'whyNotIser',
    ]);
    assert.deepEqual([info['transport'], info['device'], info['whyNotIser']], ['tcp', null, null]);
    assert.deepEqual(info['capacity'], {
      blocks: 1024,
      blockSize: 4096,
      physicalExponent: 0,
      isThin: false,
      unmappedReadsZero: false,
      size: 4 * MIB,
      physicalBlockSize: 4096,
    });
    const { HeaderDigest, DataDigest } = info['negotiated'] as Record<string, string>;
    assert.deepEqual([HeaderDigest, DataDigest], ['CRC32C', 'CRC32C']);
    const [first] = info['vpdPages'] as Record<string, string>[];
    assert.deepEqual(first, { page: '0x00', name: 'Supported VPD Pages', body: '00808386878fb0b1' });
    const caching = (info['modePages'] as { page: string; settings: string[] }[]).find(
      ({ page }) => page === '0x08',
    );
    assert.deepEqual(caching!.settings, ['WCE']);
  });

  test('what cannot be is told, with what to do', async () => {
    const cases: [string[], number, RegExp][] = [
      [
        ['discover', '127.0.0.1:1', '--timeout', '5'],
        1,
        /^error: cannot connect to 127\.0\.0\.1 port 1: .*\nCheck/,
      ],
      [['ls', `iscsi://${portal}/iqn.2001-04.com.example:none`], 1, /^error: /],
      [['info', url], 2, /^error: the URL names no LUN\n.*riser ls/],
      [
        ['info', `iscsi://me%hush@${portal}/${TARGET_NAME}/0`],
        2,
        /^error: the URL has a secret in it(?!.*hush)/s,
      ],
      [
        ['discover', 'iser://127.0.0.1:1', '--timeout', '5'],
        1,
        /^error: cannot connect to 127\.0\.0\.1 port 1: .*\nCheck/,
      ],
      [['ping', portal, '-c', '0'], 2, /^error: "0" is no whole number/],
    ];
    for (const [args, exitCode, message] of cases) {
      const outcome = await run(...args);
      assert.equal(outcome.exitCode, exitCode, outcome.stderr);
      assert.match(outcome.stderr, message);
      assert.equal(outcome.stdout, '');
    }
  });
});

describe('riser ping', () => {
  test('counts and measures round trips, in a discovery session and in a normal one', async () => {
    for (const [where, name] of [
      [portal, null],
      [url, TARGET_NAME],
    ] as const) {
      const { sent, received, minimumMs, averageMs, maximumMs, ...rest } = await json(
        ...['ping', where, '-c', '3', '-i', '0.01', '-s', '1000'],
      );
      assert.deepEqual([sent, received], [3, 3]);
      const times = [0, minimumMs, averageMs, maximumMs] as number[];
      assert.deepEqual(
        times,
        times.toSorted((a, b) => a - b),
      );
      assert.deepEqual(rest, { portal: { host: '127.0.0.1', port: target.port }, target: name });
    }
  });

  test('goes on until a signal stops it', async () => {
    const ping = new CliProcess(['ping', url, '-i', '0.01']);
    await ping.printed(/seq=3 /);
    const { exitCode, stdout } = await ping.stop('SIGINT');
    assert.equal(exitCode, 0);
    assert.match(
      stdout,
      /^56 bytes from \S+: seq=1 time=\d+\.\d+ ms\n[^]*\n\d+ sent, \d+ received; min\/avg\/max /,
    );
  });
});

describe('riser bench', () => {
  test('reads and writes, and gives numbers that fit each other', async () => {
    const result = await json(
      ...[
        'bench',
        `${url}/0`,
        '--seconds',
        '0.5',
        '--ramp-time',
        '0',
        '--block-size',
        '8K',
        '--depth',
        '4',
        '--sessions',
        '2',
      ],
      ...['--read-percent', '60', '--destroy-data'],
    );
    const { count, seconds, iops, bytesPerSecond, reads, writes, ...rest } = result as {
      count: number;
      seconds: number;
      iops: number;
      bytesPerSecond: number;
      reads: { count: number; latencyUs: Record<string, number> };
      writes: { count: number };
    };
    assert.deepEqual(rest, {
      url: `${url}/0`,
      blockSize: 8192,
      depth: 4,
      order: 'random',
      readPercent: 60,
      sessions: 2,
      paths: 1,
    });
    assert.equal(count, reads.count + writes.count);
    assert.ok(reads.count > 0 && writes.count > 0);
    assert.ok(seconds > 0.4 && seconds < 0.6);
    assert.ok(Math.abs(iops * seconds - count) < 1e-6 * count);
    assert.ok(Math.abs(bytesPerSecond - iops * 8192) < 1);
    const { minimum, p50, p90, p99, 'p99.9': p999, maximum } = reads.latencyUs;
    const latencies = [0, minimum, p50, p90, p99, p999, maximum] as number[];
    assert.deepEqual(
      latencies,
      latencies.toSorted((a, b) => a - b),
    );
  });

  test('writes nothing unless it is told that data may be destroyed', async () => {
    for (const how of [['--write'], ['--read-percent', '99']]) {
      const { exitCode, stderr } = await run(
        'bench',
        `${url}/0`,
        '--seconds',
        '0.1',
        '--ramp-time',
        '0',
        ...how,
      );
      assert.equal(exitCode, 2);
      assert.match(stderr, /^error: writing destroys what is on the LUN\n.*--destroy-data/);
    }
  });
});
