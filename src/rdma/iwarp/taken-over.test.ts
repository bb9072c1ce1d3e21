/** TCP connections that software iWARP takes over from somebody else, in both roles. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { startupFrame } from '../../../test/support/raw-iwarp.js';
import { End, until } from '../../../test/support/verbs-pair.js';
import { type ByteStream, openStream } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';
import { Memory } from '../../util/memory.js';
import { QueuePairState, type RdmaConnection } from '../verbs.js';
import { CompletionStatus, SendOpcode } from '../work.js';
import { IwarpDevice } from './device.js';
import { infoOf, type StreamInfo } from './tcp.js';

/** Whoever has the connection first: it collects lines of text. */
class Owner {
  readonly name = 'text';
}

class TextEnd {
  readonly stream: ByteStream<Owner>;
  readonly info: StreamInfo;
  text = '';
  isClosed = false;
  readonly #memory = Memory.allocate(16);

  constructor(socket: Socket) {
    this.info = infoOf(socket);
    this.stream = openStream<Owner>(socket);
    this.stream.events = {
      readable: () => {
        this.readable();
      },
      released: () => undefined,
      closed: () => {
        this.isClosed = true;
      },
    };
  }

  readable(): void {
    for (let n; (n = this.stream.read(this.#memory, 0, this.#memory.length)) > 0;)
      this.text += this.#memory.bytes.toString('latin1', 0, n);
  }

  say(text: string, owner: Owner | null = null): void {
    this.stream.queue.push(new Memory(Buffer.from(text)), 0, text.length, owner);
    this.stream.flush();
  }
}

/** The first byte of an MPA Request's key (RFC 5044 7.1.1); nothing that iSCSI begins with. */
const FIRST_OF_MPA = 'M'.charCodeAt(0);

describe('TCP connections that iWARP takes over', () => {
  let device: IwarpDevice;
  let server: Server;
  let passive: End;
  let others: TextEnd[];
  let failures: Error[];
  let requests: RdmaConnection[];
  let sockets: Socket[];

  /** What becomes of an MPA Request on the server. */
  const accept = (request: RdmaConnection): void => {
    requests.push(request);
    passive.attach(request);
    passive.receive(1, 0, 100);
    void request.accept().catch(() => undefined);
  };
  const takeOver = ({ stream, info }: TextEnd, over: IwarpDevice = device): void => {
    over.acceptStream(stream, info, { requested: accept }, (error) => failures.push(error));
  };

  function port(): number {
    return (server.address() as AddressInfo).port;
  }

  async function dial(): Promise<Socket> {
    const socket = connect({ port: port(), host: '127.0.0.1' });
    sockets.push(socket);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  /** One portal for two protocols. */
  function serve(): void {
    server.on('connection', (socket: Socket) => {
      const end = new TextEnd(socket);
      end.readable = () => {
        if (end.stream.peekByte() === FIRST_OF_MPA) takeOver(end);
        else {
          others.push(end);
          end.readable = TextEnd.prototype.readable.bind(end);
        }
      };
    });
  }

  beforeEach(async () => {
    device = new IwarpDevice();
    server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    passive = new End(device);
    others = [];
    failures = [];
    requests = [];
    sockets = [];
  });

  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    for (const { stream } of others) stream.destroy(null);
    passive.close();
    await device.close();
    server.close();
  });

  /** What the active end sends arrives at the passive one. */
  async function exchange(active: End): Promise<void> {
    active.memory.bytes.write('a message', 0);
    active.post(active.request(SendOpcode.SEND, 7, 0, 9));
    const [received] = await passive.completed(1);
    assert.deepEqual([received!.status, received!.byteLength], [CompletionStatus.SUCCESS, 9]);
    assert.equal(passive.memory.bytes.toString('latin1', 0, 9), 'a message');
  }

  it('shares a port with another protocol, told apart by the first byte', async () => {
    serve();
    const other = await dial();
    other.write('Iscsi or whatever');
    const active = new End(device);
    try {
      active.attach(await device.resolve({ host: '127.0.0.1', port: port() }));
      await active.connection.connect();
      await exchange(active);
      await until(() => others[0]?.text === 'Iscsi or whatever', 'the text');
      assert.deepEqual([others.length, requests.length, failures.length], [1, 1, 0]);
      assert.equal(requests[0]!.remoteAddress, '127.0.0.1');
    } finally {
      active.close();
    }
  });

  it('takes a request of which more and more comes', async () => {
    serve();
    const socket = await dial();
    const request = startupFrame('request');
    let replied = 0;
    socket.on('data', (bytes) => (replied += bytes.length));
    for (const byte of request) {
      socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => replied > 0, 'the reply');
    assert.equal(requests.length, 1);
  });

  it('goes over to MPA after an exchange in streaming mode, in both roles', async () => {
    server.on('connection', (socket: Socket) => {
      const end = new TextEnd(socket);
      end.readable = () => {
        TextEnd.prototype.readable.call(end);
        if (!end.text.endsWith('iWARP?')) return;
        // The answer may leave after the stream was handed over.
        end.say('iWARP!');
        takeOver(end);
      };
    });
    const client = new TextEnd(await dial());
    client.say('iWARP?');
    await until(() => client.text === 'iWARP!', 'the answer');
    const active = new End(device);
    try {
      const connection = device.connectStream(client.stream, client.info);
      assert.deepEqual([connection.localAddress, connection.remoteAddress], ['127.0.0.1', '127.0.0.1']);
      active.attach(connection);
      await connection.connect({ privateData: Buffer.from('hello') });
      assert.equal(active.queuePair.state, QueuePairState.RTS);
      await exchange(active);
      assert.deepEqual(failures, []);
      connection.disconnect();
      assert.equal(await active.disconnected(), null);
      assert.equal(await passive.disconnected(), null);
    } finally {
      active.close();
    }
  });

  it('goes over from within `readable`, too, on the active side', async () => {
    server.on('connection', (socket: Socket) => {
      const end = new TextEnd(socket);
      end.say('go');
      takeOver(end);
    });
    const client = new TextEnd(await dial());
    const active = new End(device);
    const connecting: Promise<unknown>[] = [];
    client.readable = () => {
      TextEnd.prototype.readable.call(client);
      if (client.text !== 'go') return;
      active.attach(device.connectStream(client.stream, client.info));
      connecting.push(active.connection.connect());
    };
    try {
      await until(() => connecting.length === 1, 'the word');
      await connecting[0];
      await exchange(active);
    } finally {
      active.close();
    }
  });

  it('takes a connection that was paused, and what has come on it meanwhile', async () => {
    const ends: TextEnd[] = [];
    server.on('connection', (socket: Socket) => {
      const end = new TextEnd(socket);
      end.readable = () => {
        end.stream.pause();
        ends.push(end);
      };
    });
    const socket = await dial();
    socket.write(startupFrame('request'));
    await until(() => ends.length === 1, 'the first bytes');
    takeOver(ends[0]!);
    assert.equal(requests.length, 0, 'never from within the call');
    await until(() => requests.length === 1, 'the request');
  });

  /** The passive side's end of a connection on which nothing was sent, and the peer's. */
  async function silent(): Promise<{ end: TextEnd; socket: Socket }> {
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const socket = await dial();
    return { end: new TextEnd((await accepted)[0]), socket };
  }

  async function dropped(socket: Socket): Promise<void> {
    let isOver = false;
    socket.on('close', () => (isOver = true)).resume();
    await until(() => isOver || socket.destroyed, 'the end of the connection');
  }

  function codes(): unknown[] {
    return failures.map((error) => (error instanceof RiserError ? error.code : error));
  }

  it('drops a peer that says nothing, in time', async () => {
    const impatient = new IwarpDevice({ startupTimeout: 100 });
    const { end, socket } = await silent();
    takeOver(end, impatient);
    await dropped(socket);
    assert.deepEqual([codes(), requests.length], [['RDMA_TIMEOUT'], 0]);
    await impatient.close();
  });

  it('drops a peer that sends rubbish', async () => {
    const wrong = startupFrame('request');
    wrong[5]! ^= 0xff;
    const early = Buffer.concat([startupFrame('request'), Buffer.alloc(4)]);
    for (const bytes of [wrong, Buffer.alloc(600, 'M'), startupFrame('reply'), early]) {
      const { end, socket } = await silent();
      const before = failures.length;
      takeOver(end);
      socket.write(bytes);
      await dropped(socket);
      assert.equal(failures.length, before + 1);
      assert.ok(!codes().includes('RDMA_TIMEOUT'));
      assert.ok(end.stream.isClosed);
    }
    assert.equal(requests.length, 0);
  });

  it('tells of a peer that has gone, before or after it was handed over', async () => {
    const before = await silent();
    before.socket.end();
    await until(() => before.end.isClosed, 'the end');
    takeOver(before.end);
    assert.equal(failures.length, 0, 'never from within the call');
    await until(() => failures.length === 1, 'the failure');
    const after = await silent();
    takeOver(after.end);
    after.socket.end();
    await until(() => failures.length === 2, 'the failure');
    assert.deepEqual(codes(), ['RDMA_CLOSED', 'RDMA_CLOSED']);
  });

  it('does not need to tell of a failure', async () => {
    const { end, socket } = await silent();
    device.acceptStream(end.stream, end.info, { requested: accept });
    socket.write('rubbish of more than twenty bytes');
    await dropped(socket);
  });

  it('closes what is in startup when the device is closed', async () => {
    const other = new IwarpDevice({ startupTimeout: 60_000 });
    const { end, socket } = await silent();
    takeOver(end, other);
    await other.close();
    await dropped(socket);
    assert.deepEqual(codes(), ['RDMA_GIVEN_UP']);
  });

  it('lets 256 be in startup; then the one that has been at it longest has to go', async () => {
    const other = new IwarpDevice({ startupTimeout: 60_000 });
    const first = await silent();
    takeOver(first.end, other);
    for (let i = 1; i < 256; i++) takeOver((await silent()).end, other);
    assert.deepEqual(failures, []);
    takeOver((await silent()).end, other);
    await dropped(first.socket);
    assert.deepEqual(codes(), ['RDMA_GIVEN_UP']);
    await other.close();
    assert.equal(failures.length, 257);
  });

  it('refuses a stream on which somebody waits to be told', async () => {
    const { end, socket } = await silent();
    socket.pause();
    end.say('x'.repeat(32 << 20), new Owner());
    const isMisuse = { code: 'RDMA_MISUSE' };
    assert.throws(() => {
      takeOver(end);
    }, isMisuse);
    assert.throws(() => device.connectStream(end.stream, end.info), isMisuse);
    end.stream.destroy(null);
  });

  describe('on the active side', () => {
    let active: End;
    let connection: RdmaConnection;
    let peer: Socket;
    let given: TextEnd;

    async function make(options: { timeout?: number; signal?: AbortSignal } = {}): Promise<void> {
      const { end, socket } = await silent();
      [given, peer] = [end, socket];
      connection = device.connectStream(end.stream, end.info, options);
      active.attach(connection);
    }

    beforeEach(() => {
      active = new End(device);
    });
    afterEach(() => {
      active.close();
    });

    it('gives up a peer that does not answer in time', async () => {
      await make({ timeout: 100 });
      await assert.rejects(connection.connect(), { code: 'RDMA_TIMEOUT' });
      await dropped(peer);
    });

    it('gives up a peer that answers rubbish', async () => {
      await make();
      peer.write('rubbish of more than twenty bytes');
      await assert.rejects(connection.connect());
      await dropped(peer);
    });

    it('tells of a peer that has gone meanwhile', async () => {
      await make();
      peer.destroy();
      await assert.rejects(connection.connect(), { code: 'RDMA_CLOSED' });
      assert.ok(given.stream.isClosed);
    });

    it('stops by a signal, before and during its work', async () => {
      const reason = new Error('enough');
      const signal = AbortSignal.abort(reason);
      await make({ signal });
      await assert.rejects(connection.connect(), reason);
      await dropped(peer);
      active.close();
      active = new End(device);
      const controller = new AbortController();
      await make({ signal: controller.signal });
      const connected = connection.connect();
      setTimeout(() => {
        controller.abort(reason);
      }, 20);
      await assert.rejects(connected, reason);
      await dropped(peer);
    });

    it('closes what was never connected', async () => {
      await make();
      connection.close();
      await dropped(peer);
      assert.ok(given.stream.isClosed);
    });

    it('closes the connection when what is asked for fits no request', async () => {
      await make();
      await assert.rejects(connection.connect({ privateData: Buffer.alloc(600) }), /private data/);
      await dropped(peer);
    });
  });
});
