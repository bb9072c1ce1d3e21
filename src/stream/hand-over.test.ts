/** A byte stream that changes hands: the next byte is looked at, and its reader is another one from then on. */

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { Memory } from '../util/memory.js';
import { IMPLEMENTATIONS, Listener, pairs, pattern, until } from './testing/sockets.js';

for (const [name, skip, open] of IMPLEMENTATIONS) {
  describe(`ByteStream that changes hands: ${name}`, { skip }, () => {
    const { pair, close } = pairs(open);
    afterEach(close);

    it('shows the next byte, which stays to be read', async () => {
      const { listener, stream, peer } = await pair();
      assert.equal(stream.peekByte(), -1);
      const part = Memory.allocate(3000);
      // Of what has come at a time, the first part is a chunk of Node's; the others may be in the kernel.
      listener.readable = () => {
        for (;;) {
          const next = stream.peekByte();
          const n = stream.read(part, 0, part.length);
          // More may come between the two.
          if (next !== -1) {
            assert.ok(n > 0);
            assert.equal(next, part.bytes[0]);
          }
          if (n === 0) break;
          listener.received.push(Buffer.from(part.bytes.subarray(0, n)));
        }
      };
      const sent = pattern(2 << 20).bytes;
      peer.write(sent);
      await until(() => listener.bytes.length === sent.length);
      assert.ok(listener.bytes.equals(sent));
      assert.equal(stream.peekByte(), -1);
    });

    it('shows no byte while it is paused, nor after its end', async () => {
      const { listener, stream, peer } = await pair();
      const take = listener.readable.bind(listener);
      const peeks: number[] = [];
      listener.readable = () => {
        peeks.push(stream.peekByte());
        stream.pause();
        peeks.push(stream.peekByte());
      };
      peer.write('x');
      await until(() => peeks.length === 2);
      assert.deepEqual(peeks, [120, -1]);
      listener.readable = take;
      stream.resume();
      await until(() => listener.bytes.length === 1);
      peer.end();
      await until(() => listener.closes === 1);
      assert.equal(stream.peekByte(), -1);
    });

    it('tells a new reader of what the old one has left, asleep and awake', async () => {
      const { listener: first, stream, peer } = await pair();
      const sent = pattern(300_000).bytes;
      const readers = [first];
      let taken = 0;
      /** Each reads a little and then hands over, in the midst of what has come. */
      const little = Memory.allocate(1000);
      const handOver = (): void => {
        const next = new Listener();
        next.stream = stream;
        readers.push(next);
        const isLast = readers.length === 50;
        if (!isLast) next.readable = readable(next);
        stream.events = next;
      };
      const readable = (reader: Listener) => (): void => {
        assert.equal(stream.events, reader, 'only the one that reads is told');
        const n = stream.read(little, 0, little.length);
        if (n === 0) return;
        taken += n;
        reader.received.push(Buffer.from(little.bytes.subarray(0, n)));
        handOver();
      };
      first.readable = readable(first);
      peer.write(sent.subarray(0, 100_000));
      await until(() => readers.at(-1)!.bytes.length + taken === 100_000);
      assert.equal(readers.length, 50);
      peer.write(sent.subarray(100_000));
      await until(() => readers.at(-1)!.bytes.length + taken === sent.length);
      assert.ok(Buffer.concat(readers.map((reader) => reader.bytes)).equals(sent));
      peer.end();
      await until(() => readers.at(-1)!.closes === 1);
      assert.ok(readers.slice(0, -1).every((reader) => reader.closes === 0));
    });

    it('tells a new reader when it was paused for it; what is queued leaves all the same', async () => {
      const { listener, stream, peer } = await pair();
      const got: Buffer[] = [];
      const take = Memory.allocate(10);
      listener.readable = () => {
        listener.received.push(Buffer.from(take.bytes.subarray(0, stream.read(take, 0, 10))));
        stream.pause();
      };
      peer.write('streaming.then something else');
      await until(() => listener.received.length === 1);
      const long = pattern(4 << 20);
      stream.queue.push(long, 0, long.length, null);
      stream.flush();
      const next = new Listener();
      next.stream = stream;
      await new Promise((resolve) => setTimeout(resolve, 10));
      stream.events = next;
      stream.resume();
      assert.equal(next.received.length, 0, 'not from within the call');
      await until(() => next.bytes.toString() === 'then something else');
      peer.on('data', (chunk) => got.push(chunk));
      await until(() => Buffer.concat(got).length === long.length);
      assert.ok(Buffer.concat(got).equals(long.bytes));
      assert.equal(listener.bytes.toString(), 'streaming.');
    });
  });
}
