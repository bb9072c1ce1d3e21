/** Both roles of the Startup Phase against each other, and each against frames that the other would not send. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { encodeFrame, NOT_NEGOTIATED, RTR_KINDS, type RtrKind, type StartupFrame } from './frames.js';
import { type InitiatorOptions, type InitiatorResult, MpaInitiator } from './initiator.js';
import { type AcceptOptions, MpaResponder, type ResponderResult } from './responder.js';
import { cut, cuts } from './testing/chunks.js';

const INITIATOR: InitiatorOptions = {
  revision: 2,
  crc: true,
  markers: false,
  ird: 16,
  ord: 16,
  peerToPeer: null,
};
const ACCEPT: AcceptOptions = { ird: 32, ord: 32, crc: false, markers: false };

/** Bytes given to `side` in pieces; how many it took. */
function give(side: MpaInitiator | MpaResponder, bytes: Buffer, lengths: readonly number[] = [1000]): number {
  let taken = 0;
  for (const piece of cut(bytes, lengths)) taken += side.handleBytes(piece);
  return taken;
}

function requested(options: InitiatorOptions): { initiator: MpaInitiator; responder: MpaResponder } {
  const initiator = new MpaInitiator(options);
  const responder = new MpaResponder();
  give(responder, initiator.request);
  return { initiator, responder };
}

/** The whole exchange. */
function connect(
  options: Partial<InitiatorOptions>,
  accept: Partial<AcceptOptions> = {},
): { initiator: InitiatorResult; responder: ResponderResult } {
  const { initiator, responder } = requested({ ...INITIATOR, ...options });
  const { reply, result } = responder.accept({ ...ACCEPT, ...accept });
  give(initiator, reply);
  return { initiator: initiator.result!, responder: result };
}

/** What an initiator makes of a reply with the given fields. */
function replied(options: Partial<InitiatorOptions>, frame: Partial<StartupFrame>): MpaInitiator {
  const initiator = new MpaInitiator({ ...INITIATOR, ...options });
  const plain = { revision: 1, markers: false, crc: false, isRejected: false, enhanced: null } as const;
  give(initiator, encodeFrame('reply', { ...plain, privateData: Buffer.alloc(0), ...frame }));
  return initiator;
}

const depth = fc.oneof(fc.nat(4), fc.nat(NOT_NEGOTIATED), fc.constant(NOT_NEGOTIATED));
const kinds = fc.subarray<RtrKind>([...RTR_KINDS], { minLength: 1 });
const privateData = fc.uint8Array({ maxLength: 508 });

const initiators: fc.Arbitrary<InitiatorOptions> = fc
  .record({
    revision: fc.constantFrom<1 | 2>(1, 2),
    crc: fc.boolean(),
    markers: fc.boolean(),
    privateData,
    ird: depth,
    ord: depth,
    peerToPeer: fc.option(kinds),
  })
  .map((options) => (options.revision === 1 ? { ...options, peerToPeer: null } : options));

const accepts: fc.Arbitrary<AcceptOptions> = fc.record({
  privateData,
  ird: depth,
  ord: depth,
  crc: fc.boolean(),
  markers: fc.boolean(),
  rtr: kinds,
});

describe('MPA startup', () => {
  it('leaves both sides with the same terms, however the bytes are cut', () => {
    fc.assert(
      fc.property(
        initiators,
        accepts,
        cuts,
        fc.uint8Array({ maxLength: 30 }),
        (options, accept, lengths, behind) => {
          const initiator = new MpaInitiator(options);
          const responder = new MpaResponder();
          assert.equal(give(responder, initiator.request, lengths), initiator.request.length);
          const request = responder.request!;
          assert.deepEqual(request.privateData, Buffer.from(options.privateData!));
          assert.deepEqual(request.peerToPeer, options.peerToPeer);

          const { reply, result: theirs } = responder.accept(accept);
          // FPDUs come right behind a reply at the earliest: they are not the initiator's to take.
          assert.equal(give(initiator, Buffer.concat([reply, behind]), lengths), reply.length);
          assert.equal(initiator.error, null);
          const ours = initiator.result!;

          assert.deepEqual([ours.isAccepted, theirs.isAccepted], [true, true]);
          assert.deepEqual([ours.revision, theirs.revision], [options.revision, options.revision]);
          assert.deepEqual(ours.privateData, Buffer.from(accept.privateData!));
          assert.deepEqual(theirs.privateData, Buffer.from(options.privateData!));
          const crc = options.crc || accept.crc;
          assert.deepEqual([ours.crc, theirs.crc], [crc, crc]);
          assert.deepEqual([ours.receiveMarkers, theirs.sendMarkers], [options.markers, options.markers]);
          assert.deepEqual([ours.sendMarkers, theirs.receiveMarkers], [accept.markers, accept.markers]);
          assert.equal(theirs.mustWaitForFirstFpdu, true);
          if (options.revision === 1) {
            assert.deepEqual([ours.ird, ours.ord], [options.ird, options.ord]);
            assert.deepEqual([theirs.ird, theirs.ord], [accept.ird, accept.ord]);
            assert.deepEqual([ours.peerIrd, ours.peerOrd], [NOT_NEGOTIATED, NOT_NEGOTIATED]);
          } else {
            // RFC 6581 9.1: the relations after a successful negotiation.
            if (![options.ord, accept.ird].includes(NOT_NEGOTIATED))
              assert.ok(ours.ord <= theirs.ird, 'our ORD');
            if (![options.ird, accept.ord].includes(NOT_NEGOTIATED))
              assert.ok(theirs.ord <= ours.ird, 'their ORD');
            assert.ok(ours.ord <= options.ord && ours.ird === options.ird, 'more than asked for');
            assert.deepEqual([theirs.peerIrd, theirs.peerOrd], [options.ird, options.ord]);
          }
          const sent = ours.rtr;
          if (options.peerToPeer === null)
            assert.deepEqual([sent, theirs.rtr, ours.terminate], [null, null, null]);
          else if (sent === null) assert.equal(ours.terminate?.code, 'MPA_NO_MATCHING_RTR');
          else {
            for (const side of [theirs.rtr!, options.peerToPeer, accept.rtr!]) {
              assert.ok(side.includes(sent), `${sent} is not of all`);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('agrees on a rejection', () => {
    fc.assert(
      fc.property(initiators, privateData, cuts, (options, data, lengths) => {
        const { initiator, responder } = requested(options);
        const { reply, result } = responder.reject({ privateData: data, ird: 3, ord: 5 });
        assert.equal(give(initiator, reply, lengths), reply.length);
        const ours = initiator.result!;
        assert.deepEqual([ours.isAccepted, result.isAccepted], [false, false]);
        assert.deepEqual([ours.rtr, ours.terminate, result.rtr], [null, null, null]);
        assert.deepEqual(ours.privateData, Buffer.from(data));
        assert.equal(result.mustWaitForFirstFpdu, false);
        // The depths that would do (RFC 6581 9.1).
        const isOpen = options.revision === 2 && options.ird !== NOT_NEGOTIATED;
        assert.equal(ours.peerOrd, isOpen ? 5 : NOT_NEGOTIATED);
      }),
    );
  });

  it('answers a request as it came: enhanced or not, and with its revision (RFC 6581 10)', () => {
    for (const [bits, answer] of [
      ['\x00\x01\x00\x00', '\x40\x01\x00\x00'],
      // The bit is reserved in revision 1.
      ['\x10\x01\x00\x00', '\x40\x01\x00\x00'],
      ['\x00\x02\x00\x00', '\x40\x02\x00\x00'],
      ['\x10\x02\x00\x04\x00\x07\x00\x09', '\x50\x02\x00\x04\x00\x20\x00\x07'],
    ] as const) {
      const responder = new MpaResponder();
      give(responder, Buffer.from(`MPA ID Req Frame${bits}`, 'latin1'));
      const { reply } = responder.accept({ ...ACCEPT, crc: true });
      assert.equal(reply.toString('latin1'), `MPA ID Rep Frame${answer}`);
    }
  });
});

describe('depths (RFC 6581 9.1)', () => {
  it('the initiator lowers its ORD to what the responder serves', () => {
    const { initiator, responder } = connect({ ord: 16, ird: 4 }, { ird: 6, ord: 10 });
    assert.deepEqual([initiator.ord, initiator.ird, initiator.peerIrd, initiator.peerOrd], [6, 4, 6, 4]);
    assert.deepEqual([responder.ord, responder.ird, responder.peerIrd, responder.peerOrd], [4, 6, 4, 16]);
  });

  it('what is not negotiated stays as it is on both sides', () => {
    const { initiator, responder } = connect(
      { ord: NOT_NEGOTIATED, ird: NOT_NEGOTIATED },
      { ird: 6, ord: 10 },
    );
    assert.deepEqual([initiator.ord, initiator.ird], [NOT_NEGOTIATED, NOT_NEGOTIATED]);
    assert.deepEqual([initiator.peerIrd, initiator.peerOrd], [NOT_NEGOTIATED, NOT_NEGOTIATED]);
    assert.deepEqual([responder.ord, responder.ird], [10, 6]);
    const other = connect({ ord: 3, ird: 2 }, { ird: NOT_NEGOTIATED, ord: NOT_NEGOTIATED });
    assert.deepEqual([other.initiator.ord, other.initiator.ird, other.initiator.terminate], [3, 2, null]);
  });

  it('the initiator raises its IRD for a responder that wants more, or ends the connection', () => {
    const frame = { revision: 2, enhanced: { ird: 9, ord: 20, peerToPeer: null } } as const;
    assert.equal(replied({ ird: 16, maxIrd: 20 }, frame).result!.ird, 20);
    const refused = replied({ ird: 16 }, frame);
    assert.equal(refused.error, null);
    assert.deepEqual(
      [refused.result!.terminate?.code, refused.result!.terminate?.mpaCode],
      ['MPA_INSUFFICIENT_IRD', 6],
    );
  });
});

describe('the peer-to-peer model (RFC 6581 9.2)', () => {
  it('the initiator sends the first of its RTR indications that the responder takes', () => {
    const { initiator, responder } = connect(
      { peerToPeer: ['read', 'write'] },
      { rtr: ['fpdu', 'write', 'read'] },
    );
    assert.equal(initiator.rtr, 'read');
    assert.deepEqual(responder.rtr, ['write', 'read']);
    assert.equal(connect({ peerToPeer: ['read', 'write'] }, { rtr: ['write'] }).initiator.rtr, 'write');
  });

  it('no RDMA Read is taken for it where no place is for one', () => {
    assert.equal(connect({ peerToPeer: ['read', 'write'] }, { ird: 0 }).initiator.rtr, 'write');
    assert.equal(connect({ peerToPeer: ['read', 'write'], ord: 0 }).initiator.rtr, 'write');
  });

  it('with none in common the initiator has to terminate', () => {
    const { initiator, responder } = connect({ peerToPeer: ['read'] }, { rtr: ['write', 'fpdu'] });
    assert.deepEqual(responder.rtr, ['write', 'fpdu']);
    assert.deepEqual([initiator.rtr, initiator.terminate?.mpaCode], [null, 7]);
  });

  it('a responder of the other model is terminated, too', () => {
    const enhanced = { ird: 9, ord: 2, peerToPeer: null };
    assert.equal(replied({ peerToPeer: ['write'] }, { revision: 2, enhanced }).result!.terminate?.mpaCode, 7);
    const peerToPeer: RtrKind[] = ['write'];
    const result = replied({}, { revision: 2, enhanced: { ...enhanced, peerToPeer } }).result!;
    assert.deepEqual([result.rtr, result.terminate?.mpaCode], [null, 7]);
  });
});

describe('startup violations', () => {
  it('an unenhanced answer to an enhanced request', () => {
    for (const revision of [1, 2] as const) {
      const { error, result } = replied({}, { revision });
      assert.equal(result, null);
      assert.equal(error?.code, 'MPA_NOT_ENHANCED');
      assert.match(error.remedy!, /revision 1/);
    }
  });

  it('an answer of revision 2 to revision 1', () => {
    const { error, result } = replied({ revision: 1 }, { revision: 2 });
    assert.deepEqual([error?.code, result], ['MPA_REVISION', null]);
  });

  it('frames of the wrong kind', () => {
    const { request } = new MpaInitiator(INITIATOR);
    const initiator = new MpaInitiator(INITIATOR);
    give(initiator, request);
    assert.deepEqual([initiator.error?.code, initiator.result], ['MPA_BOTH_INITIATORS', null]);
    const responder = new MpaResponder();
    give(responder, requested(INITIATOR).responder.accept(ACCEPT).reply);
    assert.deepEqual([responder.error?.code, responder.request], ['MPA_BOTH_RESPONDERS', null]);
  });

  it('options that fit no frame', () => {
    const misused = { code: 'MPA_MISUSE', by: 'local' };
    assert.throws(() => new MpaInitiator({ ...INITIATOR, revision: 1, peerToPeer: ['write'] }), misused);
    assert.throws(() => new MpaInitiator({ ...INITIATOR, peerToPeer: [] }), misused);
    assert.throws(() => new MpaInitiator({ ...INITIATOR, ird: 0x4000 }), misused);
    assert.throws(() => new MpaResponder().accept(ACCEPT), misused);
    assert.throws(() => new MpaResponder().reject(), misused);
    const { responder } = requested({ ...INITIATOR, peerToPeer: ['write'] });
    assert.throws(() => responder.accept({ ...ACCEPT, rtr: [] }), misused);
    assert.throws(() => responder.accept({ ...ACCEPT, privateData: Buffer.alloc(509) }), misused);
    // Nothing is lost by it.
    assert.ok(responder.accept(ACCEPT).result.isAccepted);
  });

  it('any bit of a reply changed gives an error, another outcome, or the same', () => {
    const { initiator, responder } = requested({ ...INITIATOR, peerToPeer: ['write'] });
    const { reply } = responder.accept({ ...ACCEPT, privateData: Buffer.from('data') });
    give(initiator, reply);
    for (let bit = 0; bit < reply.length * 8; bit++) {
      const bytes = Buffer.from(reply);
      bytes[bit >>> 3]! ^= 0x80 >>> (bit % 8);
      const other = new MpaInitiator({ ...INITIATOR, peerToPeer: ['write'] });
      give(other, bytes);
      assert.ok(other.error === null || other.result === null);
      if (bit < 128) assert.match(other.error!.code, /^MPA_(KEY|BOTH_INITIATORS)$/);
      else if (bit >= 132 && bit < 136) assert.deepEqual(other.result, initiator.result);
      else if (bit === 130) assert.equal(other.result!.isAccepted, false);
    }
  });
});
