/** A login over TCP that goes over to RDMA on the same connection (RFC 7145 5.1), Riser to Riser and with a peer that does it wrong. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect as dial, createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { connect } from '../../src/initiator/index.js';
import { Bhs, LoginResponse } from '../../src/iscsi/wire/headers.js';
import { Opcode } from '../../src/iscsi/wire/opcodes.js';
import { decodePairs, encodeKeys, type Keys, loginHeader, Stage } from '../support/login.js';
import { ConnectionClosed, PduSocket } from '../support/pdu-socket.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

const KEYS: Keys = {
  InitiatorName: 'iqn.2026-01.example.test:streaming',
  TargetName: TARGET_NAME,
  SessionType: 'Normal',
  RDMAExtensions: 'Yes',
  InitialR2T: 'No',
  HeaderDigest: 'CRC32C,None',
};

describe('iSER from streaming mode', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 16 << 20 }) }]);
  });
  after(() => target.close());

  const url = (port: number): string => `iser://127.0.0.1:${port}/${TARGET_NAME}/0`;

  test('the login is iSCSI over TCP, what follows is MPA, and data moves', async () => {
    const first: Buffer[] = [];
    const relay = createServer((socket: Socket) => {
      const onward = dial(target.port, '127.0.0.1');
      socket.on('data', (chunk: Buffer) => first.push(chunk));
      socket.pipe(onward).pipe(socket);
      for (const end of [socket, onward]) end.on('error', () => undefined);
    }).listen(0, '127.0.0.1');
    await once(relay, 'listening');
    const { port } = relay.address() as AddressInfo;
    const lun = await connect(url(port), { streamingMode: true });
    try {
      assert.deepEqual(
        target.server.sessions().map(({ transport }) => transport),
        ['iser'],
      );
      const sent = Buffer.concat(first);
      assert.equal(sent[0]! & 0x3f, Opcode.LOGIN_REQUEST);
      const mpa = sent.indexOf('MPA ID Req Frame');
      assert.ok(mpa > 0 && sent.subarray(0, mpa).includes('RDMAExtensions=Yes'));
      for (const length of [512, 4096, 65_536, 3 << 20]) {
        const data = randomBytes(length);
        await lun.write(0, data);
        assert.ok((await lun.read(0, length)).equals(data), `${length} bytes`);
      }
    } finally {
      await lun.close();
      relay.close();
    }
  });

  test('a lost connection comes back the same way', async () => {
    const lun = await connect(url(target.port), { streamingMode: true });
    const data = randomBytes(8192);
    await lun.write(0, data);
    const sockets = target.server.sessions();
    assert.equal(sockets.length, 1);
    const isid = sockets[0]!.isid;
    // A login with the same ISID takes the session's place (RFC 7143 6.3.5), and ends its connection.
    const rival = await loggedIn(
      { ...KEYS, InitiatorName: sockets[0]!.initiatorName },
      Buffer.from(isid, 'hex'),
    );
    rival.destroy();
    assert.ok((await lun.read(0, 8192)).equals(data));
    await lun.close();
  });

  /** A connection whose login is over, and the keys that the target has answered. */
  async function loggedIn(keys: Keys, isid = randomBytes(6).fill(0x80, 0, 1)): Promise<PduSocket> {
    const socket = await PduSocket.connect(target.port);
    socket.send(
      loginHeader({ isid, currentStage: Stage.OPERATIONAL, nextStage: Stage.FULL_FEATURE }),
      encodeKeys(keys),
    );
    const answer = await socket.inbox.next();
    assert.equal(LoginResponse.statusClass.get(answer.header), 0);
    assert.equal(Bhs.opcode.get(answer.header), Opcode.LOGIN_RESPONSE);
    const pairs = Object.fromEntries(decodePairs(answer.data));
    assert.deepEqual(
      [pairs['RDMAExtensions'], pairs['HeaderDigest'], pairs['InitialR2T']],
      ['Yes', 'None', 'Yes'],
    );
    return socket;
  }

  for (const [what, act] of Object.entries<(socket: PduSocket) => void>({
    'an iSCSI PDU instead of MPA': (socket) => {
      socket.send(Buffer.alloc(48), Buffer.alloc(0));
    },
    'nothing but the end': (socket) => {
      socket.destroy();
    },
    rubbish: (socket) => {
      socket.sendBytes(randomBytes(600));
    },
  })) {
    test(`${what} ends the connection, and nothing is left of it`, async () => {
      const socket = await loggedIn(KEYS);
      act(socket);
      await assert.rejects(socket.inbox.next(), ConnectionClosed);
      assert.deepEqual(target.server.sessions(), []);
    });
  }

  test('a peer that does not wait for the Login Response is left', async () => {
    const socket = await PduSocket.connect(target.port);
    const header = loginHeader({
      isid: randomBytes(6).fill(0x80, 0, 1),
      currentStage: Stage.OPERATIONAL,
      nextStage: Stage.FULL_FEATURE,
    });
    const keys = encodeKeys(KEYS);
    header.writeUIntBE(keys.length, 5, 3);
    const padding = Buffer.alloc(-keys.length & 3);
    socket.sendBytes(Buffer.concat([header, keys, padding, Buffer.from('MPA ID Req Frame')]));
    await assert.rejects(async () => {
      for (;;) await socket.inbox.next();
    }, ConnectionClosed);
    assert.deepEqual(target.server.sessions(), []);
  });

  test('RDMAExtensions=No, and a discovery session, stay on TCP', async () => {
    const socket = await PduSocket.connect(target.port);
    socket.send(
      loginHeader({
        isid: randomBytes(6).fill(0x80, 0, 1),
        currentStage: Stage.OPERATIONAL,
        nextStage: Stage.FULL_FEATURE,
      }),
      encodeKeys({ ...KEYS, RDMAExtensions: 'No' }),
    );
    const pairs = Object.fromEntries(decodePairs((await socket.inbox.next()).data));
    assert.equal(pairs['RDMAExtensions'], 'No');
    assert.equal(pairs['HeaderDigest'], 'CRC32C');
    assert.deepEqual(
      target.server.sessions().map(({ transport }) => transport),
      ['tcp'],
    );
    socket.destroy();
  });
});
