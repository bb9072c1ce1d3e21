import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { temporaryFolder } from '../../../test/support/temporary.js';
import { cpuSeconds, findTarget, type Machine, targetSeconds } from './process-time.js';

const PORT = 3260;
const OWN_PID = 7;
const folder = temporaryFolder();
let machines = 0;

interface Fake {
  /** Address and inode of the sockets that listen on {@link PORT}. */
  tcp?: [string, number][];
  tcp6?: [string, number][];
  /** Inodes of the sockets that a process has open. */
  processes?: Record<number, number[]>;
  addresses?: string[];
}

/** As the kernel prints them: words in the order of this machine. */
function hex(address: string): string {
  const bytes = address.includes(':')
    ? Buffer.from(address.split(':').join(''), 'hex')
    : Buffer.from(address.split('.').map(Number));
  if (endianness() === 'LE') bytes.swap32();
  return bytes.toString('hex').toUpperCase();
}

function machine({ tcp = [], tcp6 = [], processes = {}, addresses = [] }: Fake): Machine {
  const proc = join(folder, `proc-${machines++}`);
  mkdirSync(join(proc, 'net'), { recursive: true });
  const port = PORT.toString(16).toUpperCase().padStart(4, '0');
  const table = (sockets: [string, number][]): string =>
    [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
      // A connection by that port, and what listens on another one.
      `   0: ${hex('127.0.0.1')}:${port} ${hex('127.0.0.1')}:D431 01 00000000:00000000 00:00000000 00000000     0        0 99 1 0 20 4 30 10 -1`,
      `   1: ${hex('0.0.0.0')}:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 98 1 0 100 0 0 10 0`,
      ...sockets.map(
        ([address, inode], i) =>
          `   ${i + 2}: ${hex(address)}:${port} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 ${inode} 1 0 100 0 0 10 0`,
      ),
      '',
    ].join('\n');
  writeFileSync(join(proc, 'net/tcp'), table(tcp));
  if (tcp6.length > 0) writeFileSync(join(proc, 'net/tcp6'), table(tcp6));
  for (const [pid, inodes] of Object.entries({ 1: [98, 99], ...processes })) {
    mkdirSync(join(proc, pid));
    mkdirSync(join(proc, pid, 'fd'));
    inodes.forEach((inode, i) => symlinkSync(`socket:[${inode}]`, join(proc, pid, 'fd', String(i + 3))));
    writeFileSync(join(proc, pid, 'comm'), `server-${pid}\n`);
    const fields = Array.from({ length: 50 }, (_, i) => i + 3);
    fields[11] = Number(pid) * 100;
    fields[12] = 50;
    writeFileSync(join(proc, pid, 'stat'), `${pid} (a ) (b) ${fields.join(' ')}\n`);
  }
  return { proc, pid: OWN_PID, addresses };
}

const at = (host: string) => [{ host, port: PORT }];
const found = async (host: string, fake: Fake): Promise<number[] | string> => {
  const { processes, reason } = await findTarget(at(host), machine(fake));
  return processes?.map(({ pid }) => pid) ?? reason!;
};

const ANY6 = '0000:0000:0000:0000:0000:0000:0000:0000';
const LOOPBACK6 = '0000:0000:0000:0000:0000:0000:0000:0001';
const MAPPED = '0000:0000:0000:0000:0000:ffff:7f00:0001';

describe('the process of a target', () => {
  test('is the one that has the listening socket', async () => {
    const processes = { 20: [5, 17], 30: [18] };
    assert.deepEqual(await found('127.0.0.1', { tcp: [['127.0.0.1', 17]], processes }), [20]);
    assert.deepEqual(await found('127.0.0.1', { tcp: [['0.0.0.0', 18]], processes }), [30]);
    assert.deepEqual(await found('127.0.0.1', { tcp6: [[ANY6, 18]], processes }), [30]);
    assert.deepEqual(await found('127.0.0.1', { tcp6: [[MAPPED, 18]], processes }), [30]);
    assert.deepEqual(await found('::1', { tcp6: [[LOOPBACK6, 17]], processes }), [20]);
    assert.deepEqual(
      await found('192.0.2.7', { tcp: [['192.0.2.7', 17]], processes, addresses: ['192.0.2.7'] }),
      [20],
    );
  });

  test('prefers the socket that names the address, as the kernel does', async () => {
    const processes = { 20: [17], 30: [18], 40: [19] };
    const tcp: [string, number][] = [
      ['0.0.0.0', 17],
      ['127.0.0.1', 18],
      ['127.0.0.2', 19],
    ];
    assert.deepEqual(await found('127.0.0.1', { tcp, processes }), [30]);
    assert.deepEqual(await found('127.0.0.3', { tcp, tcp6: [[ANY6, 19]], processes }), [20]);
  });

  test('may be several, one on each portal', async () => {
    const fake = machine({
      tcp: [
        ['127.0.0.1', 17],
        ['127.0.0.2', 18],
      ],
      processes: { 20: [17], 30: [18] },
    });
    const target = await findTarget([...at('127.0.0.1'), ...at('127.0.0.2'), ...at('127.0.0.1')], fake);
    assert.deepEqual(target.processes, [
      { pid: 20, name: 'server-20' },
      { pid: 30, name: 'server-30' },
    ]);
    // 20 and 30 seconds of user time, and half a second of system time each.
    assert.equal(targetSeconds(target, fake.proc), 51);
    assert.equal(targetSeconds(target, join(folder, 'nowhere')), null);
  });

  test('when it is not known, there is a reason', async () => {
    const tcp: [string, number][] = [['127.0.0.1', 17]];
    const cases: [string, Fake, RegExp][] = [
      ['192.0.2.9', { tcp, addresses: ['192.0.2.7'] }, /^192\.0\.2\.9 is not this machine$/],
      ['127.0.0.1', {}, /^nothing .* listens on 127\.0\.0\.1:3260/],
      ['127.0.0.1', { tcp, processes: { 20: [5] } }, /no process but the kernel/],
      ['127.0.0.1', { tcp, processes: { 20: [17], 30: [17] } }, /^2 processes listen .*: 20, 30$/],
      ['127.0.0.1', { tcp, processes: { [OWN_PID]: [17] } }, /one process/],
    ];
    for (const [host, fake, reason] of cases) assert.match(String(await found(host, fake)), reason);
    const missing = { ...machine({}), proc: join(folder, 'nowhere') };
    assert.match((await findTarget(at('127.0.0.1'), missing)).reason!, /nowhere\/net\/tcp cannot be read/);
    assert.match((await findTarget([], missing)).reason!, /none of its portals/);
    assert.equal(targetSeconds({ processes: null, reason: 'none' }), null);
  });
});

test(
  'the process of another user is not seen',
  { skip: process.platform === 'win32' && 'no modes' },
  async () => {
    const fake = machine({ tcp: [['127.0.0.1', 17]], processes: { 20: [17] } });
    chmodSync(folder, 0o755);
    chmodSync(join(fake.proc, '20/fd'), 0);
    // Root may read everything.
    const isRoot = process.geteuid!() === 0;
    if (isRoot) process.seteuid!(65534);
    try {
      const { reason } = await findTarget(at('127.0.0.1'), fake);
      assert.match(reason!, /a process of another user, or the kernel$/);
    } finally {
      if (isRoot) process.seteuid!(0);
      chmodSync(join(fake.proc, '20/fd'), 0o755);
    }
  },
);

/** Listens, and uses 0.2 seconds of CPU time whenever it is told to. */
const BUSY_SERVER = `
  const server = require('node:net').createServer().listen(0, '127.0.0.1', () => console.log(server.address().port));
  process.stdin.on('data', () => {
    const { user, system } = process.cpuUsage();
    const until = (user + system) + 200_000;
    for (;;) {
      const now = process.cpuUsage();
      if (now.user + now.system >= until) break;
    }
    console.log('done');
  });
`;

describe('on this machine', { skip: process.platform === 'linux' ? false : 'proc(5) is of Linux' }, () => {
  test('the time of a child that listens is found', async () => {
    const child = spawn(process.execPath, ['-e', BUSY_SERVER], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const [port] = (await once(child.stdout, 'data')) as [Buffer];
      const target = await findTarget([{ host: 'localhost', port: Number(String(port)) }]);
      assert.deepEqual(target.processes, [{ pid: child.pid, name: 'node' }]);
      const before = targetSeconds(target)!;
      const done = once(child.stdout, 'data');
      child.stdin.write('go\n');
      await done;
      const used = targetSeconds(target)! - before;
      // In ticks of 10 ms at either end, and what starting takes may come late.
      assert.ok(used >= 0.17 && used < 5, `${used} s`);
    } finally {
      child.kill('SIGKILL');
    }
    await once(child, 'exit');
  });

  test('what listens in this process is told as such', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { processes, reason } = await findTarget([{ host: '127.0.0.1', port }]);
    server.close();
    assert.equal(processes, null);
    assert.match(reason, /target and initiator are one process/);
    assert.ok(cpuSeconds(process.pid) > 0);
  });
});
