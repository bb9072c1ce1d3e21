/** What an initiator learns of a server, and from one that is strict, odd, or none. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';

import { IsnsServer } from '../../test/support/isns-server.js';
import { IsnsConnection } from './connection.js';
import { discoverByIsns, portalsIn } from './discovery.js';
import { registrations } from './registration.js';
import {
  type Attribute,
  attribute,
  blank,
  EID,
  ISCSI_NAME,
  ISCSI_NODE_TYPE,
  PG_ADDRESS,
  PG_ISCSI_NAME,
  PG_PORT,
  PG_TAG,
  PORTAL_ADDRESS,
  PORTAL_PORT,
  UDP,
} from './wire/attributes.js';
import { FunctionId } from './wire/codes.js';

const INITIATOR = 'iqn.2026-11.com.example:me';
const TARGET = 'iqn.2026-11.com.example:disk';
const OTHER = 'iqn.2026-11.com.example:other';

let server: IsnsServer;
before(async () => {
  server = await IsnsServer.start();
});
after(() => server.close());
beforeEach(() => {
  server.entities.clear();
  server.received.length = 0;
  server.answersAll = false;
});

const discover = (options = {}) =>
  discoverByIsns(
    { host: '127.0.0.1', port: server.port },
    { initiatorName: INITIATOR, timeoutMs: 5000, ...options },
  );

/** Register an entity with targets behind two portals. */
async function register(entity: string, names: readonly string[]): Promise<void> {
  const portals = [
    { address: '192.0.2.1', port: 3260, portalGroupTag: 1, esiPort: null },
    { address: '2001:db8::1', port: 3261, portalGroupTag: 2, esiPort: null },
  ];
  const nodes = names.map((name) => ({
    name,
    alias: name === TARGET ? 'Größe' : null,
    portalGroupTags: null,
  }));
  const connection = await IsnsConnection.open({ host: '127.0.0.1', port: server.port }, { timeoutMs: 5000 });
  for (const operating of registrations(entity, { nodes, portals }))
    await connection.request(FunctionId.DEV_ATTR_REG, 'it', {
      source: attribute(ISCSI_NAME, names[0]!),
      key: [attribute(EID, entity)],
      operating,
    });
  connection.close();
}

const functions = (): number[] => server.received.map(({ functionId }) => functionId);

describe('discovery by iSNS', () => {
  test('targets with their alias, portals and tags; other nodes are none', async () => {
    server.answersAll = true;
    await register('one', [TARGET, OTHER]);
    const portals = [
      { host: '192.0.2.1', port: 3260, portalGroupTag: 1 },
      { host: '2001:db8::1', port: 3261, portalGroupTag: 2 },
    ];
    assert.deepEqual(await discover(), [
      { name: TARGET, alias: 'Größe', portals },
      { name: OTHER, alias: null, portals },
    ]);
    assert.equal(
      functions().filter((id) => id === FunctionId.DEV_ATTR_REG).length,
      1,
      'nothing but "one" is registered',
    );
  });

  test('a server that answers registered nodes only: registered while it asks, and not longer', async () => {
    await register('one', [TARGET]);
    const before = server.describe();
    assert.deepEqual(
      (await discover()).map(({ name }) => name),
      [TARGET],
    );
    assert.deepEqual(server.describe(), before);
    assert.equal(functions().filter((id) => id === FunctionId.DEV_ATTR_REG).length, 2);
  });

  test('a node that somebody else registered is not touched', async () => {
    await register('mine', [INITIATOR]);
    server.entities
      .get('mine')!
      .nodes.get(INITIATOR)!
      .set(ISCSI_NODE_TYPE.tag, attribute(ISCSI_NODE_TYPE, 2));
    server.received.length = 0;
    assert.deepEqual(await discover(), []);
    assert.ok(!functions().includes(FunctionId.DEV_ATTR_REG) && !functions().includes(FunctionId.DEV_DEREG));
  });

  test('the initiator is deregistered even if the server fails in between', async () => {
    await register('one', [TARGET]);
    // The first is that of a node that is not registered yet.
    server.refusals.push(
      { functionId: FunctionId.DEV_GET_NEXT, status: 6 },
      { functionId: FunctionId.DEV_GET_NEXT, status: 11 },
    );
    await assert.rejects(discover(), {
      code: 'ISNS_REFUSED',
      message: /to list nodes: Internal Error \(status 11\)/,
    });
    assert.deepEqual([...server.entities.keys()], ['one']);
  });

  test('nothing registered', async () => {
    server.answersAll = true;
    assert.deepEqual(await discover(), []);
  });
});

describe('servers that are none', () => {
  test('bytes of something else', async () => {
    server.instead = Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n');
    await assert.rejects(discover(), { code: 'ISNS_MALFORMED', message: /is of version 18516, not 1/ });
    server.instead = null;
  });

  test('nobody listens', async () => {
    const { port } = server;
    await server.close();
    await assert.rejects(discover(), {
      code: 'ISNS_UNREACHABLE',
      message: /cannot be reached: .*ECONNREFUSED/,
    });
    server.port = port;
    await server.listen();
  });

  test('no answer, a closed connection, and giving up', async () => {
    let isMute = true;
    const mute = createServer((socket) => {
      socket.on('error', () => undefined).resume();
      if (!isMute) socket.end();
    });
    mute.listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const address = { host: '127.0.0.1', port: (mute.address() as AddressInfo).port };
    const options = { initiatorName: INITIATOR, timeoutMs: 100 };
    await assert.rejects(discoverByIsns(address, options), {
      code: 'ISNS_UNANSWERED',
      message: /nothing for 0.1 s/,
    });
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    await assert.rejects(discoverByIsns(address, { ...options, signal }), reason);
    isMute = false;
    await assert.rejects(discoverByIsns(address, { ...options, timeoutMs: 5000 }), {
      code: 'ISNS_UNANSWERED',
      message: /closed the connection/,
    });
    mute.close();
  });

  test('a server that tells nodes without an end', async () => {
    server.answersAll = true;
    server.goesRound = true;
    await register('one', [TARGET, OTHER]);
    await assert.rejects(discover(), { code: 'ISNS_MALFORMED', message: /without an end/ });
    server.goesRound = false;
  });
});

describe('portals of a target', () => {
  const portal = (address: string, port: number): Attribute[] => [
    attribute(PORTAL_ADDRESS, address),
    attribute(PORTAL_PORT, port),
  ];
  const group = (name: string, address: string, port: number, tag: number | null): Attribute[] => [
    attribute(PG_ISCSI_NAME, name),
    attribute(PG_ADDRESS, address),
    attribute(PG_PORT, port),
    tag === null ? blank(PG_TAG) : attribute(PG_TAG, tag),
  ];

  test('have the tag of their Portal Group, in whatever order it comes', () => {
    const first = portal('192.0.2.1', 3260);
    const second = portal('192.0.2.2', 3260);
    const groups = [...group(OTHER, '192.0.2.1', 3260, 9), ...group(TARGET, '192.0.2.1', 3260, 5)];
    const expected = [
      { host: '192.0.2.1', port: 3260, portalGroupTag: 5 },
      { host: '192.0.2.2', port: 3260, portalGroupTag: null },
    ];
    assert.deepEqual(portalsIn([...first, ...second, ...groups], TARGET), expected);
    assert.deepEqual(portalsIn([...groups, ...first, ...second], TARGET), expected);
  });

  test('a Portal Group without a tag means that the target is not there', () => {
    const answer = [...portal('192.0.2.1', 3260), ...group(TARGET, '192.0.2.1', 3260, null)];
    assert.deepEqual(portalsIn(answer, TARGET), []);
  });

  test('port 0 is the canonical one; UDP is none of iSCSI', () => {
    const answer = [...portal('192.0.2.1', 0), ...portal('192.0.2.2', UDP | 3260)];
    assert.deepEqual(portalsIn(answer, TARGET), [{ host: '192.0.2.1', port: 3260, portalGroupTag: null }]);
  });
});
