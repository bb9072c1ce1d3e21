/** Discovery and other text requests over a real socket (RFC 7143 4.3, 11.10, appendix C). */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { Bhs, Reject, TextRequest, TextResponse } from '../../src/iscsi/wire/headers.js';
import { FINAL, Opcode, RejectReason, RESERVED_TAG, TextFlag } from '../../src/iscsi/wire/opcodes.js';
import { TEST_UNIT_READY } from '../support/cdb.js';
import { encodeKeys } from '../support/login.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

/** Enough for an answer of several PDUs. */
const MORE_TARGETS = 200;

describe('discovery', () => {
  let target: TestTarget;
  const names = [TARGET_NAME];
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
    for (let i = 0; i < MORE_TARGETS; i++) {
      const name = `iqn.2026-01.example.test:target-${i}`;
      target.server.addTarget({ name });
      names.push(name);
    }
  });
  after(() => target.close());

  test('SendTargets=All lists every target with its portal', async () => {
    const initiator = await target.discover();
    const pairs = await initiator.text({ SendTargets: 'All' });
    assert.deepEqual(
      pairs
        .filter(([key]) => key === 'TargetName')
        .map(([, value]) => value)
        .sort(),
      [...names].sort(),
    );
    const addresses = pairs.filter(([key]) => key === 'TargetAddress');
    assert.equal(addresses.length, names.length);
    for (const [, address] of addresses) assert.equal(address, `127.0.0.1:${target.port},1`);
    await initiator.logout();
    await initiator.closed;
  });

  test('SendTargets with a name lists that target alone', async () => {
    const initiator = await target.discover();
    assert.deepEqual(await initiator.text({ SendTargets: names[7]! }), [
      ['TargetName', names[7]!],
      ['TargetAddress', `127.0.0.1:${target.port},1`],
    ]);
    assert.deepEqual(await initiator.text({ SendTargets: 'iqn.2026-01.example.test:none' }), []);
    await initiator.logout();
  });

  test('a long answer comes in parts of the declared size, each asked for by its tag', async () => {
    const discovery = await target.discover({ MaxRecvDataSegmentLength: '512' });
    const header = discovery.header(Opcode.TEXT_REQUEST, FINAL);
    TextRequest.targetTransferTag.set(header, RESERVED_TAG);
    let pdu = await discovery.request(header, encodeKeys({ SendTargets: 'All' }));
    let parts = 1;
    while ((Bhs.flags.get(pdu.header) & TextFlag.FINAL) === 0) {
      assert.ok(pdu.data.length <= 512);
      const tag = TextResponse.targetTransferTag.get(pdu.header);
      assert.notEqual(tag, RESERVED_TAG);
      TextRequest.targetTransferTag.set(header, tag);
      pdu = await discovery.request(header);
      parts++;
    }
    assert.equal(TextResponse.targetTransferTag.get(pdu.header), RESERVED_TAG);
    assert.ok(parts > 10, `${parts} parts`);
    await discovery.logout();
  });

  test('a normal session learns of its own target only', async () => {
    const initiator = await target.login();
    const own = [
      ['TargetName', TARGET_NAME],
      ['TargetAddress', `127.0.0.1:${target.port},1`],
    ];
    assert.deepEqual(await initiator.text({ SendTargets: '' }), own);
    // RFC 7143 appendix C: "All" is for discovery sessions.
    const header = initiator.header(Opcode.TEXT_REQUEST, FINAL);
    TextRequest.targetTransferTag.set(header, RESERVED_TAG);
    initiator.open(header, encodeKeys({ SendTargets: 'All' }));
    assert.equal((await initiator.unsolicited.next()).opcode, Opcode.REJECT);
    assert.deepEqual(await initiator.text({ SendTargets: '' }), own, 'the session goes on');
    await initiator.logout();
  });

  test('a discovery session takes no SCSI command', async () => {
    const initiator = await target.discover();
    initiator.open(initiator.commandHeader(0, TEST_UNIT_READY));
    const rejection = await initiator.unsolicited.next();
    assert.equal(rejection.opcode, Opcode.REJECT);
    assert.equal(Reject.reason.get(rejection.header), RejectReason.PROTOCOL_ERROR);
    initiator.destroy();
  });

  test('a discovery session takes no ping, and goes on', async () => {
    const initiator = await target.discover();
    initiator.open(initiator.header(Opcode.NOP_OUT, FINAL));
    const rejection = await initiator.unsolicited.next();
    assert.equal(rejection.opcode, Opcode.REJECT);
    assert.equal(Reject.reason.get(rejection.header), RejectReason.PROTOCOL_ERROR);
    assert.equal((await initiator.text({ SendTargets: names[7]! })).length, 2);
    await initiator.logout();
  });

  test('an unknown key is not understood', async () => {
    const initiator = await target.login();
    assert.deepEqual(await initiator.text({ 'X-com.example.colour': 'green' }), [
      ['X-com.example.colour', 'NotUnderstood'],
    ]);
    await initiator.logout();
  });
});
