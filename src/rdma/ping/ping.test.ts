/** rping's protocol: its data and messages, both roles with each other, and with peers that do not keep to it. */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { End, until } from '../../../test/support/verbs-pair.js';
import { IwarpProvider } from '../iwarp/device.js';
import { AccessFlag, type RdmaConnection, type RdmaDevice, type RdmaListener } from '../verbs.js';
import { SendOpcode } from '../work.js';
import {
  type Advertisement,
  ADVERTISEMENT_BYTES,
  advertisementOf,
  getAdvertisement,
  putAdvertisement,
} from './advertisement.js';
import { fillPingData, pingText, stringSize } from './data.js';
import { MAX_PING_SIZE, PingClient, PingServer } from './index.js';

const ADDRESS = '127.0.0.1';
/** Where a hand-made peer keeps its messages; its data is before them. */
const OUT = 1 << 18;
const IN = OUT + 1000;

function dataOf(sequence: number, size: number): Buffer {
  const bytes = Buffer.alloc(size, 0xff);
  fillPingData(bytes, sequence);
  return bytes;
}

describe('the data of a ping', () => {
  test('is what rping makes', () => {
    // Worked out by hand from rdma-core's rping.c: 65 is A, 122 is z, and then comes 65.
    assert.equal(dataOf(0, 20).toString('latin1'), 'rdma-ping-0: ABCDEF\0');
    assert.equal(dataOf(1, 20).toString('latin1'), 'rdma-ping-1: BCDEFG\0');
    assert.equal(dataOf(57, 20).toString('latin1'), 'rdma-ping-57: zABCD\0');
    assert.equal(dataOf(58, 20).toString('latin1'), 'rdma-ping-58: ABCDE\0');
    assert.equal(dataOf(0, 73).toString('latin1', 70), 'zA\0');
  });

  test('fits any size, and ends with its only 0', () => {
    assert.deepEqual([...dataOf(0, 1)], [0]);
    assert.equal(dataOf(12, 5).toString('latin1'), 'rdma\0');
    for (const size of [1, 2, 13, 14, 15, 4096, MAX_PING_SIZE]) {
      assert.equal(stringSize(dataOf(7, size)), size);
      assert.equal(pingText(dataOf(7, size)).length, size - 1);
    }
  });

  test('of another client may have no end', () => {
    assert.equal(stringSize(Buffer.from('abc')), 3);
    assert.equal(pingText(Buffer.from('abc')), 'abc');
    assert.equal(stringSize(Buffer.from('a\0c')), 2);
  });
});

test('an advertisement is address, key and size, big-endian', () => {
  const bytes = Buffer.alloc(18, 0xee);
  const advertisement = {
    addressHigh: 0xffff_8880,
    addressLow: 0x8102_0304,
    remoteKey: 0xfedc_ba98,
    size: 0x8000_0001,
  };
  putAdvertisement(bytes, 1, advertisement);
  assert.equal(bytes.toString('hex'), 'eeffff888081020304fedcba9880000001ee');
  assert.deepEqual(getAdvertisement(bytes, 1), advertisement);
});

describe('ping', () => {
  let device: RdmaDevice;
  let server: PingServer;
  let ended: (string | null)[];
  let connected: number;
  const seen: string[] = [];

  before(async () => {
    device = await new IwarpProvider().open('iwarp');
  });
  after(() => device.close());

  beforeEach(() => serveFor(20_000));
  afterEach(() => server.close());

  async function serveFor(timeout: number): Promise<void> {
    ended = [];
    connected = 0;
    seen.length = 0;
    const options = { address: ADDRESS, port: 0, timeout };
    server = await PingServer.listen(device, options, {
      connected: () => connected++,
      pinged: (_client, data) => seen.push(pingText(data)),
      ended: (_client, error) => ended.push(error?.message ?? null),
    });
  }

  const client = (size: number, port = server.port, timeout = 10_000): Promise<PingClient> =>
    PingClient.connect(device, { host: ADDRESS, port, size, timeout });

  for (const size of [1, 2, 64, 4096, MAX_PING_SIZE]) {
    test(`goes there and back with ${size} bytes`, async () => {
      const pinging = await client(size);
      for (let i = 0; i < 20; i++) {
        await pinging.ping();
        pinging.verify();
        assert.ok(pinging.returned.equals(dataOf(i, size)));
        assert.equal(seen[i], pingText(dataOf(i, size)));
      }
      await pinging.close();
      await until(() => ended.length === 1, 'the end at the server');
      assert.deepEqual(ended, [null]);
    });
  }

  test('serves many clients at once', async () => {
    const clients = await Promise.all(Array.from({ length: 20 }, (_, i) => client(1000 + i)));
    await Promise.all(
      clients.map(async (pinging) => {
        for (let i = 0; i < 10; i++) {
          await pinging.ping();
          pinging.verify();
        }
      }),
    );
    assert.equal(connected, 20);
    assert.equal(seen.length, 200);
    await Promise.all(clients.map((pinging) => pinging.close()));
  });

  test('ends with its server, and says so', async () => {
    const pinging = await client(64);
    await pinging.ping();
    await server.close();
    await assert.rejects(pinging.ping(), { code: 'RDMA_CLOSED', message: 'the peer closed the connection' });
    assert.equal(pinging.isOver, true);
    assert.deepEqual(ended, [null]);
    await pinging.close();
  });

  /** Does something wrong with a server, by hand, after it has connected. */
  interface Offence {
    what: string;
    timeout?: number;
    offend: (end: End) => void | Promise<void>;
    /** What the server says of it. */
    error: RegExp;
  }

  const advertise = (end: End, change: Partial<Advertisement> = {}): void => {
    putAdvertisement(end.memory.bytes, OUT, { ...advertisementOf(end.region), size: 64, ...change });
    end.post(end.request(SendOpcode.SEND, 1, OUT, ADVERTISEMENT_BYTES));
  };
  const goAheads = async (end: End, count: number): Promise<void> => {
    await until(() => end.drain().filter(({ id }) => id === 100).length >= count, 'the go-ahead');
  };

  const OFFENCES: Offence[] = [
    {
      what: 'sends a message that is too short',
      offend: (end) => {
        end.post(end.request(SendOpcode.SEND, 1, OUT, 15));
      },
      error: /^the peer sent a message of 15 bytes instead of 16$/,
    },
    {
      what: 'sends a message that is too long',
      offend: (end) => {
        end.post(end.request(SendOpcode.SEND, 1, OUT, 17));
      },
      error: /more than an advertisement|too long/,
    },
    {
      what: 'sends two messages at once',
      offend: (end) => {
        advertise(end);
        advertise(end);
      },
      error: /no buffer for this message/,
    },
    {
      what: 'advertises nothing',
      offend: (end) => {
        advertise(end, { size: 0 });
      },
      error: /^the peer sent an advertisement of 0 bytes: 1 to 65536 can be read$/,
    },
    {
      what: 'advertises too much',
      offend: (end) => {
        advertise(end, { size: MAX_PING_SIZE + 1 });
      },
      error: /^the peer sent an advertisement of 65537 bytes: 1 to 65536 can be read$/,
    },
    {
      what: 'advertises a source that it does not grant',
      offend: (end) => {
        advertise(end, { remoteKey: end.region.remoteKey ^ 1 });
      },
      error: /^the peer does not grant access to the memory that it had advertised \(REMOTE_ACCESS_ERROR\)$/,
    },
    {
      what: 'advertises a source where it has no memory',
      offend: (end) => {
        advertise(end, { addressHigh: 0xffff_ffff });
      },
      error: /REMOTE_ACCESS_ERROR/,
    },
    {
      what: 'advertises a sink that it does not grant',
      offend: async (end) => {
        advertise(end);
        await goAheads(end, 1);
        advertise(end, { remoteKey: end.region.remoteKey ^ 1 });
      },
      error: /invalid STag|REMOTE_ACCESS_ERROR/,
    },
    {
      what: 'advertises a sink that is too small',
      offend: async (end) => {
        advertise(end);
        await goAheads(end, 1);
        advertise(end, { size: 63 });
      },
      error: /^the peer sent an advertisement of 63 bytes, too few for the 64 of its data$/,
    },
    {
      what: 'leaves in the midst',
      offend: async (end) => {
        advertise(end);
        await goAheads(end, 1);
        end.connection.disconnect();
      },
      error: /^the peer closed the connection$/,
    },
    {
      what: 'is silent from the start on',
      timeout: 100,
      offend: () => undefined,
      error: /^the peer was silent for 0\.1 s$/,
    },
    {
      what: 'is silent in the midst',
      timeout: 300,
      offend: (end) => {
        advertise(end);
      },
      error: /^the peer was silent for 0\.3 s$/,
    },
  ];

  /** A client made by hand, with two receives posted. */
  async function handMadeClient(): Promise<End> {
    const end = new End(device);
    dataOf(0, 64).copy(end.memory.bytes);
    end.attach(await device.resolve({ host: ADDRESS, port: server.port }));
    for (const at of [0, 100]) end.receive(100, IN + at, ADVERTISEMENT_BYTES);
    await end.connection.connect();
    return end;
  }

  for (const { what, timeout, offend, error } of OFFENCES) {
    test(`a client that ${what} ends alone`, async () => {
      if (timeout !== undefined) {
        await server.close();
        await serveFor(timeout);
      }
      const end = await handMadeClient();
      const bystander = await client(64);
      await offend(end);
      await until(() => {
        end.drain();
        return ended.length > 0;
      }, 'the end at the server');
      assert.match(ended[0]!, error);
      await end.disconnected();
      end.close();
      const later = timeout === undefined ? bystander : await client(64);
      await later.ping();
      later.verify();
      await later.close();
      await bystander.close();
    });
  }

  test('a client that keeps to the protocol, by hand', async () => {
    const end = await handMadeClient();
    advertise(end);
    await goAheads(end, 1);
    end.memory.bytes.fill(0xff, 1000, 1100);
    advertise(end, { ...advertisementOf(end.region), addressLow: 1000, size: 100 });
    await goAheads(end, 2);
    // Up to the 0, as rping's server does it, though the sink is larger.
    const expected = Buffer.concat([dataOf(0, 64), Buffer.alloc(36, 0xff)]);
    assert.ok(end.memory.bytes.subarray(1000, 1100).equals(expected));
    end.connection.disconnect();
    await end.disconnected();
    end.close();
  });

  describe('with a server that', () => {
    let listener: RdmaListener | null = null;
    let end: End | null = null;
    let pinging: PingClient | null = null;

    afterEach(async () => {
      await pinging?.close();
      end?.close();
      await listener?.close();
      pinging = end = listener = null;
    });

    /** Connect to a server made by hand, which has two receives posted. */
    async function connect(timeout = 10_000): Promise<End> {
      const peer = new End(device, { access: AccessFlag.LOCAL_WRITE });
      end = peer;
      const requested = (request: RdmaConnection): void => {
        peer.attach(request);
        for (const at of [0, 100]) peer.receive(100, IN + at, ADVERTISEMENT_BYTES);
        void request.accept();
      };
      listener = await device.listen({ address: ADDRESS, port: 0 }, { requested });
      pinging = await client(64, listener.port, timeout);
      return peer;
    }
    const goAhead = (peer: End, length = ADVERTISEMENT_BYTES): void => {
      peer.post(peer.request(SendOpcode.SEND, 1, OUT, length));
    };

    test('is silent', async () => {
      await connect(100);
      await assert.rejects(pinging!.ping(), {
        code: 'RDMA_TIMEOUT',
        message: 'the peer was silent for 0.1 s',
      });
      assert.equal(pinging!.isOver, true);
    });

    test('sends another message than a go-ahead', async () => {
      const peer = await connect();
      const ping = assert.rejects(pinging!.ping(), { code: 'RDMA_PING_MESSAGE' });
      await goAheads(peer, 1);
      goAhead(peer, 3);
      await ping;
    });

    test('leaves in the midst', async () => {
      const peer = await connect();
      const ping = assert.rejects(pinging!.ping(), { code: 'RDMA_CLOSED' });
      await goAheads(peer, 1);
      goAhead(peer);
      await goAheads(peer, 2);
      peer.connection.disconnect();
      await ping;
      assert.equal(pinging!.isOver, true);
    });

    test('writes nothing, or something else', async () => {
      const peer = await connect();
      const ping = pinging!.ping();
      await goAheads(peer, 1);
      goAhead(peer);
      await goAheads(peer, 2);
      goAhead(peer);
      await ping;
      assert.throws(() => {
        pinging!.verify();
      }, /^RiserError: the data came back changed from byte 0 on$/);
      assert.equal(pinging!.isOver, false);
    });

    test('rejects', async () => {
      const requested = (request: RdmaConnection): void => {
        request.reject();
        request.close();
      };
      listener = await device.listen({ address: ADDRESS, port: 0 }, { requested });
      await assert.rejects(client(64, listener.port), { code: 'RDMA_REJECTED' });
    });
  });

  test('a client that lets nobody read is rejected', async () => {
    const end = new End(device);
    end.attach(await device.resolve({ host: ADDRESS, port: server.port }));
    await assert.rejects(end.connection.connect({ responderResources: 0 }), { code: 'RDMA_REJECTED' });
    assert.match(ended[0]!, /serves no RDMA Reads/);
    end.close();
  });
});
