/** Both sides of the benchmark over software iWARP. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { pipeline } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { NarrowDevice } from '../../../test/support/narrow-device.js';
import { type IwarpOptions, IwarpProvider } from '../index.js';
import type { RdmaConnection, RdmaDevice } from '../verbs.js';
import { SendOpcode } from '../work.js';
import { runClient } from './client.js';
import { Control } from './control.js';
import { RECEIVE_DEPTH } from './data-end.js';
import { OPERATIONS, type Plan } from './plan.js';
import { BenchServer, type ServerOptions } from './server.js';
import { encodeNumber, encodeVersion } from './wire.js';

const ADDRESS = '127.0.0.1';

describe('the benchmark of RDMA', { timeout: 120_000 }, () => {
  const devices: RdmaDevice[] = [];
  const open = async (options: IwarpOptions = {}): Promise<RdmaDevice> => {
    const device = await new IwarpProvider(options).open('iwarp');
    devices.push(device);
    return device;
  };
  let near: RdmaDevice;
  let far: RdmaDevice;
  before(async () => {
    near = await open();
    far = await open();
  });
  after(async () => {
    // Which fails if a run has left something behind.
    for (const device of devices) await device.close();
  });

  const listen = (options: Partial<ServerOptions> = {}, device = far): Promise<BenchServer> =>
    BenchServer.listen(device, {
      address: ADDRESS,
      port: 0,
      plan: {},
      depth: 16,
      ...options,
    });
  const client = (port: number, plan: Plan, device = near) =>
    runClient(device, { host: ADDRESS, port, plan, depth: 16 });
  const over = new Error('the test is over');

  for (const operation of OPERATIONS) {
    for (const isLatency of [false, true]) {
      test(`${operation}, ${isLatency ? 'latency' : 'bandwidth'}`, async () => {
        const server = await listen();
        for (const [size, iterations] of [
          [1, 5],
          [100_000, 30],
          [4096, 1300],
        ] as const) {
          const plan: Plan = { operation, isLatency, size, iterations };
          const served = server.serve();
          const result = await client(server.port, plan);
          assert.equal(result.kind, isLatency ? 'latency' : 'bandwidth');
          assert.deepEqual([result.size, result.iterations], [size, iterations]);
          const run = await served;
          assert.deepEqual(run.plan, plan);
          if (operation === 'read' && isLatency) assert.equal(run.result, null);
          else assert.deepEqual([run.result!.size, run.result!.iterations], [size, iterations]);
          if (operation !== 'send' && !isLatency) {
            // What the client measured is what the server was told, in other units.
            const [mine, told] = [result, run.result!] as { average: number }[];
            assert.ok(Math.abs(mine!.average / told!.average - 1) < 1e-9);
          }
        }
        await server.close(over);
      });
    }
  }

  test('a client that cannot say that it is ready: the server of a latency test of writes speaks first', async () => {
    const server = await listen({}, await open({ mayAnswerFirst: true }));
    const plan: Plan = { operation: 'write', isLatency: true, size: 64, iterations: 20 };
    const served = server.serve();
    // Revision 1 knows no RTR, as siw's clients do not use it.
    const result = await client(server.port, plan, await open({ revision: 1 }));
    assert.equal(result.iterations, 20);
    await served;
    await server.close(over);
  });

  test('sends have no credits where what finds no receive is sent again', async () => {
    const [adapter, other] = [
      new NarrowDevice({ hasRnrRetry: true }),
      new NarrowDevice({ hasRnrRetry: true }),
    ];
    devices.push(adapter, other);
    const server = await listen({}, other);
    // As many as receives that are posted at once: software iWARP would not send them again.
    const plan: Plan = { operation: 'send', isLatency: false, size: 64, iterations: RECEIVE_DEPTH };
    const served = server.serve();
    await client(server.port, plan, adapter);
    await served;
    assert.deepEqual([adapter.posted(SendOpcode.RDMA_WRITE), other.posted(SendOpcode.RDMA_WRITE)], [0, 0]);
    await server.close(over);
  });

  test('a second connection that comes too early for the server is made again', async () => {
    const server = await listen();
    let connections = 0;
    // As perftest's server for a moment: TCP has accepted already, and resets.
    const way = createServer((socket) => {
      if (++connections === 2) {
        socket.resetAndDestroy();
        return;
      }
      const onward = connect(server.port, ADDRESS);
      pipeline(socket, onward, () => undefined);
      pipeline(onward, socket, () => undefined);
    });
    way.listen(0, ADDRESS);
    await once(way, 'listening');
    const plan: Plan = { operation: 'write', isLatency: false, size: 4096, iterations: 10 };
    const served = server.serve();
    await client((way.address() as AddressInfo).port, plan);
    assert.equal(connections, 3);
    await served;
    way.close();
    await server.close(over);
  });

  test('a client that wants something else is told so, and the next one is served', async () => {
    const server = await listen({ plan: { size: 4096 } });
    const plan: Plan = { operation: 'write', isLatency: false, size: 100, iterations: 10 };
    const refused = assert.rejects(server.serve(), { code: 'BENCH_REJECTED' });
    await assert.rejects(client(server.port, plan), {
      code: 'BENCH_REJECTED',
      message: /4096 bytes.*100 bytes/,
    });
    await refused;
    const served = server.serve();
    await client(server.port, { ...plan, size: 4096 });
    await served;
    await server.close(over);
  });

  test('one client at a time', async () => {
    const server = await listen();
    const plan: Plan = { operation: 'send', isLatency: true, size: 100, iterations: 3000 };
    const served = server.serve();
    const first = client(server.port, plan);
    const second = await near.resolve({ host: ADDRESS, port: server.port });
    const queue = near.createCompletionQueue(2);
    const domain = near.allocateProtectionDomain();
    const options = { sendQueue: queue, receiveQueue: queue, maxSendRequests: 1, maxReceiveRequests: 1 };
    second.createQueuePair(domain, options, { disconnected: () => undefined });
    await first;
    await assert.rejects(second.connect(), (error: { code: string; privateData: Buffer }) => {
      assert.equal(error.code, 'RDMA_REJECTED');
      assert.match(error.privateData.toString(), /busy/);
      return true;
    });
    second.close();
    queue.close();
    domain.close();
    await served;
    await server.close(over);
  });

  /** A client of whom the server sees the first steps only. */
  async function stranger(port: number): Promise<{ control: Control; connection: RdmaConnection }> {
    const connection = await near.resolve({ host: ADDRESS, port });
    const control = new Control(near, connection, 'client');
    await connection.connect();
    return { control, connection };
  }

  test('a peer that is something else', async () => {
    const server = await listen();
    const first = assert.rejects(server.serve(), { code: 'BENCH_PEER', message: /version/ });
    const { control } = await stranger(server.port);
    // The answer may be lost here and below: the server ends at once.
    await Promise.all([first, control.exchange(Buffer.from('HTTP/1.1 200 OK!')).catch(() => undefined)]);
    control.close();

    const second = assert.rejects(server.serve(), { code: 'BENCH_PEER', message: /pages/ });
    const other = await stranger(server.port);
    await other.control.exchange(encodeVersion());
    await other.control.exchange(encodeNumber(0x7fff_ffff));
    await other.control.exchange(encodeNumber(64));
    await Promise.all([second, other.control.exchange(Buffer.from('5\0')).catch(() => undefined)]);
    other.control.close();

    const third = assert.rejects(server.serve(), { code: 'BENCH_PEER', message: /3 bytes where 16 are due/ });
    const short = await stranger(server.port);
    await Promise.all([third, short.control.exchange(Buffer.from('6.0')).catch(() => undefined)]);
    short.control.close();
    await server.close(over);
  });

  test('a peer that goes away', async () => {
    const server = await listen();
    const served = assert.rejects(server.serve(), { code: 'BENCH_ENDED' });
    const { control } = await stranger(server.port);
    await control.exchange(encodeVersion());
    control.close();
    await served;
    await server.close(over);
  });

  test('a server that stops, waiting or in the middle of a run', async () => {
    const waiting = await listen();
    const served = assert.rejects(waiting.serve(), over);
    await waiting.close(over);
    await served;

    const busy = await listen();
    const plan: Plan = { operation: 'read', isLatency: false, size: 1 << 20, iterations: 1_000_000 };
    const cut = assert.rejects(busy.serve(), over);
    const told = assert.rejects(client(busy.port, plan), { code: 'BENCH_ENDED' });
    setTimeout(() => void busy.close(over), 300);
    await Promise.all([cut, told]);
  });

  test('a client that stops', async () => {
    const server = await listen();
    const plan: Plan = { operation: 'write', isLatency: false, size: 1 << 20, iterations: 1_000_000 };
    const served = assert.rejects(server.serve(), { code: 'BENCH_ENDED' });
    const stopped = new AbortController();
    const { signal } = stopped;
    const options = { host: ADDRESS, port: server.port, plan, depth: 16, signal };
    setTimeout(() => {
      stopped.abort(over);
    }, 300);
    await assert.rejects(runClient(near, options), over);
    await served;
    await server.close(over);
  });
});
