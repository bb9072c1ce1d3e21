/** Discovery and other text requests over a real socket (RFC 7143 4.3, 11.10, appendix C). */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { discover } from '../../src/initiator/index.js';
import { Bhs, LogoutResponse, Reject, TextRequest, TextResponse } from '../../src/iscsi/wire/headers.js';
import {
  FINAL,
  LogoutReason,
  Opcode,
  RejectReason,
  RESERVED_TAG,
  TextFlag,
} from '../../src/iscsi/wire/opcodes.js';
import { TEST_UNIT_READY } from '../support/cdb.js';
import { Initiator } from '../support/initiator.js';
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

  test("Riser's initiator finds all targets over iSER, whose answers come in parts", async () => {
    const found = await discover({
      portal: { host: '127.0.0.1', port: target.port },
      transport: 'iser',
      initiatorName: 'iqn.2026-01.example.test:initiator',
    });
    assert.deepEqual(found.map(({ name }) => name).sort(), [...names].sort());
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

  test('a discovery session is ended by a logout of the session, and by no other', async () => {
    const initiator = await target.discover();
    for (const reason of [LogoutReason.CLOSE_CONNECTION, LogoutReason.REMOVE_FOR_RECOVERY]) {
      initiator.open(initiator.header(Opcode.LOGOUT_REQUEST, FINAL | reason));
      const rejection = await initiator.unsolicited.next();
      assert.equal(rejection.opcode, Opcode.REJECT);
      assert.equal(Reject.reason.get(rejection.header), RejectReason.PROTOCOL_ERROR);
    }
    assert.equal(LogoutResponse.response.get((await initiator.logout()).header), 0);
    await initiator.closed;
  });

  test('discovery sessions with one name and ISID by two portals leave each other alone', async () => {
    const other = await target.server.listen({ address: '127.0.0.1', port: 0 });
    const options = {
      initiatorName: 'iqn.2026-01.example.test:twice',
      isid: Buffer.from('800000000001', 'hex'),
    };
    const isAsked = (initiator: Initiator) => initiator.text({ SendTargets: names[7]! });
    const here = await Initiator.login({ ...options, port: target.port });
    const there = await Initiator.login({ ...options, port: other.port });
    assert.equal((await isAsked(here)).length, 3, 'both portals are listed');
    assert.equal((await isAsked(there)).length, 3);
    const again = await Initiator.login({ ...options, port: other.port });
    await there.closed;
    assert.equal((await isAsked(again)).length, 3);
    assert.equal((await isAsked(here)).length, 3);
    await again.logout();
    await here.logout();
  });

  test('a discovery session that names its target gives way to the next one with its name and ISID, by whatever it is for', async () => {
    const named = {
      initiatorName: 'iqn.2026-01.example.test:twice',
      isid: Buffer.from('800000000002', 'hex'),
    };
    const unnamed = await Initiator.login({ ...named, port: target.port });
    const first = await target.login({ ...named, sessionType: 'Discovery' });
    const second = await target.login({ ...named, sessionType: 'Discovery' });
    await first.closed;
    const normal = await target.login(named);
    await second.closed;
    assert.equal((await unnamed.text({ SendTargets: names[7]! })).length > 0, true, 'another nexus');
    await normal.logout();
    await unnamed.logout();
  });

  test('what a negotiation of several requests declares counts when it has succeeded', async () => {
    const initiator = await target.login();
    const header = initiator.header(Opcode.TEXT_REQUEST, 0);
    const begin = async (): Promise<void> => {
      TextRequest.targetTransferTag.set(header, RESERVED_TAG);
      const { header: answer } = await initiator.request(
        header,
        encodeKeys({ MaxRecvDataSegmentLength: '512' }),
      );
      assert.equal(Bhs.flags.get(answer) & TextFlag.FINAL, 0);
      TextRequest.targetTransferTag.set(header, TextResponse.targetTransferTag.get(answer));
    };
    const segments = async (): Promise<number[]> =>
      (await initiator.read(0, 0, 4)).pdus.map(({ data }) => data.length);

    await begin();
    initiator.open(header, encodeKeys({ MaxRecvDataSegmentLength: '1024' }));
    const rejection = await initiator.unsolicited.next();
    assert.equal(rejection.opcode, Opcode.REJECT, 'a key is declared once');
    assert.equal(Reject.reason.get(rejection.header), RejectReason.PROTOCOL_ERROR);
    assert.deepEqual(await segments(), [2048], 'what failed counts for nothing');

    await begin();
    assert.deepEqual(await segments(), [2048], 'not yet');
    Bhs.flags.set(header, FINAL);
    assert.equal(Bhs.flags.get((await initiator.request(header)).header) & TextFlag.FINAL, TextFlag.FINAL);
    assert.deepEqual(await segments(), [512, 512, 512, 512]);
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
