/** The contract of {@link ByteStream}, run against both implementations over loopback sockets. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, describe, it } from 'node:test';
import { Memory, ScatterList } from '../util/memory.js';
import { libc } from '../util/posix/libc.js';
import { PolledStream, tcpHandleOf } from './polled-stream.js';
import { Poller, TrafficMeter } from './poller.js';
import {
  connected,
  IMPLEMENTATIONS,
  Listener,
  type Open,
  pairs,
  pattern,
  poller,
  Transfer,
  until,
  withoutLibc,
} from './testing/sockets.js';

function byteStreamContract(name: string, skip: string | false, open: Open): void {
  describe(`ByteStream: ${name}`, { skip }, () => {
    const { pair, close } = pairs(open);
    afterEach(close);

    it('delivers what the peer sends, in order', async () => {
      const { listener, peer } = await pair();
      const sent = pattern(1 << 20).bytes;
      for (let at = 0; at < sent.length; at += 50_001) peer.write(sent.subarray(at, at + 50_001));
      await until(() => listener.bytes.length === sent.length);
      assert.ok(listener.bytes.equals(sent));
    });

    it('sends what is queued when the bytes before it have left, though nobody flushes', async () => {
      const { listener, stream, peer } = await pair();
      let received = 0;
      peer.on('data', (chunk) => (received += chunk.length));
      const part = new Transfer();
      const memory = pattern(200_000);
      part.buffer.add(memory, 0, memory.length);
      const queue = (): void => {
        stream.queue.pushList(part.buffer, 0, memory.length, part);
      };
      listener.released = (owner) => {
        listener.releases.push(owner);
        if (listener.releases.length < 20) queue();
      };
      queue();
      stream.flush();
      await until(() => received === 20 * memory.length);
    });

    it('puts what has come into the parts of a list, one after the other', async () => {
      const { listener, stream, peer } = await pair();
      const places = [Memory.allocate(5000), Memory.allocate(100), Memory.allocate(70_000)];
      const list = new ScatterList();
      let largest = 0;
      listener.readable = () => {
        for (;;) {
          list.clear();
          places.forEach((place, i) => list.add(place, i, place.length - i));
          let left = stream.readList(list);
          largest = Math.max(largest, left);
          if (left === 0) break;
          for (let i = 0; left > 0; i++) {
            const part = Math.min(left, list.lengths[i]!);
            const offset = list.offsets[i]!;
            listener.received.push(Buffer.from(places[i]!.bytes.subarray(offset, offset + part)));
            left -= part;
          }
        }
      };
      const sent = pattern(1 << 20).bytes;
      peer.write(sent);
      await until(() => listener.bytes.length === sent.length);
      assert.ok(listener.bytes.equals(sent));
      assert.ok(largest > 5000, 'no read reached the second part');
    });

    it('reads nothing while it is paused, and all of it afterwards', async () => {
      const { listener, stream, peer } = await pair();
      const sent = pattern(1 << 20).bytes;
      peer.write(sent.subarray(0, 10_000));
      await until(() => listener.bytes.length === 10_000);
      for (let round = 0; round < 3; round++) {
        stream.pause();
        const before = listener.bytes.length;
        const from = 10_000 + round * 300_000;
        peer.write(sent.subarray(from, from + 300_000));
        await new Promise((resolve) => setTimeout(resolve, 20));
        assert.equal(listener.bytes.length, before);
        stream.resume();
        if (round === 1) continue;
        await until(() => listener.bytes.length === from + 300_000);
      }
      assert.ok(listener.bytes.equals(sent.subarray(0, 910_000)));
    });

    it('stops in the midst of what has come when it is paused there', async () => {
      const { listener, stream, peer } = await pair();
      const take = listener.readable.bind(listener);
      const small = Memory.allocate(100);
      listener.readable = () => {
        const n = stream.read(small, 0, small.length);
        listener.received.push(Buffer.from(small.bytes.subarray(0, n)));
        stream.pause();
      };
      const sent = pattern(100_000).bytes;
      peer.write(sent);
      await until(() => listener.bytes.length === 100);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(listener.bytes.length, 100);
      listener.readable = take;
      stream.resume();
      await until(() => listener.bytes.length === sent.length);
      assert.ok(listener.bytes.equals(sent));
    });

    it('delivers again after a pause', async () => {
      const { listener, peer } = await pair();
      peer.write('one');
      await until(() => listener.bytes.length === 3);
      await new Promise((resolve) => setTimeout(resolve, 30));
      peer.write('two');
      await until(() => listener.bytes.length === 6);
      assert.equal(listener.bytes.toString(), 'onetwo');
    });

    it('sends a long queue to a slow reader, and releases its owner at the end', async () => {
      const { listener, stream, peer } = await pair();
      const transfer = new Transfer();
      const memory = pattern(8 << 20);
      transfer.buffer.add(memory, 0, memory.length);
      stream.queue.pushList(transfer.buffer, 0, memory.length, transfer);
      stream.flush();
      assert.deepEqual(listener.releases, []);
      await new Promise((resolve) => setTimeout(resolve, 30));
      const got: Buffer[] = [];
      let length = 0;
      peer.on('data', (chunk) => {
        got.push(chunk);
        length += chunk.length;
      });
      await until(() => length === memory.length);
      assert.ok(Buffer.concat(got).equals(memory.bytes));
      await until(() => listener.releases.length === 1);
      assert.equal(stream.queue.count, 0);
    });

    it('sends in both ways of working: while input goes on, and on its own account', async () => {
      const { listener, stream, peer } = await pair();
      const got: Buffer[] = [];
      peer.on('data', (chunk) => got.push(chunk));
      const say = (text: string): void => {
        const memory = new Memory(Buffer.from(text));
        stream.queue.push(memory, 0, memory.length, null);
        stream.flush();
      };
      say('asleep ');
      peer.write('x');
      await until(() => listener.bytes.length === 1);
      say('awake');
      await until(() => Buffer.concat(got).length === 12);
      assert.equal(Buffer.concat(got).toString(), 'asleep awake');
    });

    it('stops reading from a peer that does not read, and goes on when it does', async () => {
      const { listener, stream, peer } = await pair();
      const memory = pattern(40 << 20);
      stream.queue.push(memory, 0, memory.length, null);
      stream.flush();
      peer.write('unread as long as the answers are');
      await new Promise((resolve) => setTimeout(resolve, 50));
      const before = listener.bytes.length;
      let length = 0;
      peer.on('data', (chunk) => (length += chunk.length));
      await until(() => length === memory.length && listener.bytes.length > 0);
      assert.equal(before, 0);
    });

    it('tells of the end when the peer closes', async () => {
      const { listener, peer } = await pair();
      peer.end('last');
      await until(() => listener.closes > 0);
      assert.equal(listener.bytes.toString(), 'last');
      assert.deepEqual([listener.closes, listener.error], [1, null]);
    });

    it('tells of the end when the peer resets, and releases what was not sent', async () => {
      const { listener, stream, peer } = await pair();
      const transfer = new Transfer();
      const memory = pattern(16 << 20);
      transfer.buffer.add(memory, 0, memory.length);
      stream.queue.pushList(transfer.buffer, 0, memory.length, transfer);
      stream.flush();
      peer.resetAndDestroy();
      await until(() => listener.closes > 0);
      assert.deepEqual(listener.releases, [transfer]);
      assert.equal(listener.closes, 1);
    });

    it('sends everything before an orderly end', async () => {
      const { listener, stream, peer } = await pair();
      const got: Buffer[] = [];
      peer.on('data', (chunk) => got.push(chunk));
      const memory = pattern(2 << 20);
      stream.queue.push(memory, 0, memory.length, null);
      stream.end();
      await until(() => listener.closes > 0);
      await until(() => Buffer.concat(got).length === memory.length);
      assert.ok(Buffer.concat(got).equals(memory.bytes));
    });

    it('ends at once when destroyed, and tells the reason', async () => {
      const { listener, stream, peer } = await pair();
      const reason = new Error('because');
      stream.destroy(reason);
      assert.deepEqual([listener.closes, listener.error], [1, reason]);
      peer.resume();
      await once(peer, 'close');
    });
  });
}

for (const [name, skip, open] of IMPLEMENTATIONS) byteStreamContract(name, skip, open);

describe('PolledStream', { skip: withoutLibc }, () => {
  it('leaves a descriptor alone whose number may be the next connection of somebody else', async () => {
    const [socket, peer] = await connected();
    const listener = new Listener();
    const stream = new PolledStream<Transfer>(socket, tcpHandleOf(socket)!, libc!, poller!);
    stream.events = listener;
    listener.stream = stream;
    peer.write('x');
    await until(() => listener.bytes.length === 1);
    // As Node does it when the peer has ended: the descriptor is closed now, 'close' comes later.
    socket.destroy();
    assert.ok(stream.isClosed);
    stream.poll();
    stream.queue.push(new Memory(Buffer.from('for nobody')), 0, 10, null);
    stream.flush();
    assert.equal(stream.read(Memory.allocate(10), 0, 10), 0);
    assert.equal(listener.closes, 0);
    await until(() => listener.closes === 1);
    peer.destroy();
  });

  it('is not polled for input that is not welcome, and goes to sleep', async () => {
    const [socket, peer] = await connected();
    const handle = tcpHandleOf(socket)!;
    handle.readStop();
    const { fd } = handle;
    peer.write('not welcome now');
    const meter = new TrafficMeter();
    for (const isReading of [true, false]) {
      // What arrives is never read, so the socket stays ready.
      await new Promise((resolve) => setTimeout(resolve, 30));
      let polls = 0;
      let isAsleep = false;
      const polled = {
        fd,
        isReading,
        isSending: false,
        get isClosed() {
          return polls === 100;
        },
        poll: () => {
          polls++;
        },
        sleep: () => {
          isAsleep = true;
        },
      };
      new Poller(libc!, true).wake(polled, meter);
      await until(() => isAsleep || polled.isClosed);
      assert.deepEqual([polls, isAsleep], isReading ? [100, false] : [0, true]);
    }
    socket.destroy();
    peer.destroy();
  });

  it('sends what is queued between inputs, awake and asleep', async () => {
    const [socket, peer] = await connected();
    const stream = new PolledStream<Transfer>(socket, tcpHandleOf(socket)!, libc!, poller!);
    stream.events = new Listener();
    (stream.events as Listener).stream = stream;
    let text = '';
    peer.on('data', (chunk) => (text += chunk.toString()));
    for (const word of ['a', 'b', 'c']) {
      stream.queue.push(new Memory(Buffer.from(word)), 0, 1, null);
      stream.flushSoon();
      if (word === 'b') await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await until(() => text === 'abc');
    stream.destroy(null);
    peer.destroy();
  });

  it('is what this Node can offer: the descriptor of an accepted socket', async () => {
    const [socket, peer] = await connected();
    assert.ok(tcpHandleOf(socket) !== null);
    socket.destroy();
    peer.destroy();
  });
});
