import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { completePlan, decodePlan, describePlan, disagreement, encodePlan, type Plan } from './plan.js';
import { bandwidthOf, latencyOf, reportOf, resultOf } from './results.js';
import {
  checkVersion,
  decodeDestination,
  decodeNumber,
  decodeReport,
  encodeDestination,
  encodeMtu,
  encodeNumber,
  encodeReport,
  encodeVersion,
} from './wire.js';

describe("perftest's records", () => {
  test('a destination has the places of struct pingpong_dest', () => {
    const destination = {
      outstandingReads: 16,
      queuePairNumber: 0x010203,
      remoteKey: 0xfedcba98,
      addressHigh: 0x7f12,
      addressLow: 0x89abcdef,
    };
    const bytes = encodeDestination(destination);
    assert.equal(
      bytes.toString('hex'),
      '00000000' + // lid
        '00000010' + // out_reads
        '00010203' + // qpn
        '00000000' + // psn
        'fedcba98' + // rkey
        '00000000' + // padding
        '00007f1289abcdef' + // vaddr
        '00'.repeat(16) + // gid
        '00000000' + // srqn
        '00000000', // gid_index
    );
    assert.deepEqual(decodeDestination(bytes), destination);
  });

  test('versions', () => {
    assert.equal(encodeVersion().toString('latin1'), '6.06'.padEnd(16, '\0'));
    const version = (text: string): Buffer => Buffer.from(text.padEnd(16, '\0'), 'latin1');
    for (const text of ['6.06', '5.70', '6.23', '12']) checkVersion(version(text));
    for (const text of ['5.69', '5.6', '0'])
      assert.throws(
        () => {
          checkVersion(version(text));
        },
        { code: 'BENCH_PEER', message: /older/ },
      );
    for (const text of ['', 'GET / HTTP/1.1', '\xff'])
      assert.throws(
        () => {
          checkVersion(version(text));
        },
        { code: 'BENCH_PEER', message: /no number/ },
      );
  });

  test('numbers and the MTU', () => {
    assert.equal(encodeNumber(4096).toString('hex'), '00001000');
    assert.equal(decodeNumber(Buffer.from('ffffffff', 'hex')), -1);
    assert.equal(encodeMtu(5).toString('hex'), '3500');
  });

  test('a report is five fields of eight bytes, and comes out as it was', () => {
    const report = { size: 65536, iterations: 5000, peak: 1500.25, average: 1234.5, messageRate: 0.019752 };
    const fields = encodeReport(report);
    assert.deepEqual(
      fields.map((field) => field.toString('hex')),
      [
        '0000000000010000',
        '0000000000001388',
        '4097710000000000',
        '40934a0000000000',
        fields[4]!.toString('hex'),
      ],
    );
    assert.deepEqual(decodeReport(fields), report);
    assert.deepEqual(reportOf(resultOf(report)).size, 65536);
  });
});

describe("a Riser client's plan", () => {
  const plan: Plan = { operation: 'read', isLatency: true, size: 4096, iterations: 77 };

  test('comes out of the private data, padded or not', () => {
    const bytes = encodePlan(plan);
    assert.equal(bytes.toString('hex'), '52424e3101010000000010000000004d');
    assert.deepEqual(decodePlan(bytes), plan);
    assert.deepEqual(decodePlan(Buffer.concat([bytes, Buffer.alloc(100)])), plan);
  });

  test('is none where it is something else', () => {
    assert.equal(decodePlan(Buffer.alloc(0)), null);
    assert.equal(decodePlan(Buffer.alloc(64)), null);
    assert.equal(decodePlan(encodePlan(plan).subarray(0, 15)), null);
    const unknown = encodePlan(plan);
    unknown[4] = 3;
    assert.equal(decodePlan(unknown), null);
  });

  test('is within bounds', () => {
    for (const wrong of [{ size: 0 }, { size: 2 ** 26 + 1 }, { iterations: 4 }, { iterations: 10_000_001 }])
      assert.throws(() => decodePlan(encodePlan({ ...plan, ...wrong })), { code: 'BENCH_PLAN' });
  });

  test('disagrees with what the server is told, if it is told', () => {
    assert.equal(disagreement({}, plan), null);
    assert.equal(disagreement({ ...plan }, plan), null);
    assert.match(disagreement({ size: 8192 }, plan)!, /8192 bytes.*4096 bytes/);
    assert.match(describePlan(completePlan({})), /write, bandwidth, 65536 bytes, 5000/);
    assert.match(describePlan(completePlan({ isLatency: true })), /write, latency, 2 bytes, 1000/);
  });
});

describe('results', () => {
  test('bandwidth: the average is of the whole, the peak of the best part', () => {
    const plan: Plan = { operation: 'write', isLatency: false, size: 1000, iterations: 4 };
    // One message at a time: 10, 10, 1 and 19 ms.
    const posted = Float64Array.of(0, 10, 20, 21);
    const completed = Float64Array.of(10, 20, 21, 40);
    const result = bandwidthOf(plan, { begin: 0, end: 40, posted, completed });
    assert.equal(result.messagesPerSecond, 100);
    assert.equal(result.average, 100_000);
    assert.equal(Math.round(result.peak), 1_000_000);
    const without = { begin: 0, end: 40, posted: new Float64Array(0), completed: new Float64Array(0) };
    assert.equal(bandwidthOf(plan, without).peak, 0);
  });

  test('latency: half of what lies between two messages, but all of it for reads', () => {
    const plan: Plan = { operation: 'send', isLatency: true, size: 8, iterations: 5 };
    const posted = Float64Array.of(0, 1, 3, 6, 16);
    const half = latencyOf(plan, posted);
    assert.deepEqual(
      [half.minimum, half.typical, half.average, half.maximum, half.p99],
      [500, 1250, 2000, 5000, 5000],
    );
    assert.equal(half.deviation, Math.sqrt((1500 ** 2 + 1000 ** 2 + 500 ** 2 + 3000 ** 2) / 4));
    assert.equal(latencyOf({ ...plan, operation: 'read' }, posted).typical, 2500);
  });
});
