/** A registrar and a strict server: what is registered, when it changes, and when the server is away. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { ask, IsnsServer } from '../../test/support/isns-server.js';
import { BackOff } from '../util/back-off.js';
import type { Logger } from '../util/logger.js';
import { Registrar, type Wanted } from './registrar.js';
import { attribute, EID, ESI_PORT, find, PORTAL_ADDRESS, PORTAL_PORT } from './wire/attributes.js';
import { FunctionId, RESPONSE } from './wire/codes.js';

const ENTITY = 'host:127.0.0.1:3260';
const DISK = 'iqn.2026-11.com.example:disk';
const TAPE = 'iqn.2026-11.com.example:tape';
const FIRST = { address: '127.0.0.1', port: 3260, portalGroupTag: 1 };
const SECOND = { address: '127.0.0.2', port: 3260, portalGroupTag: 7 };

const wanted = (names: readonly string[], portals = [FIRST], alias: string | null = null): Wanted => ({
  nodes: names.map((name) => ({ name, alias, portalGroupTags: null })),
  portals,
});

let server: IsnsServer;
let lines: string[];
let registrar: Registrar | null;
beforeEach(async () => {
  server = await IsnsServer.start();
  lines = [];
  registrar = null;
});
afterEach(async () => {
  await registrar?.close(5000);
  await server.close();
});

function start(first: Wanted, checkMs = 60_000): Registrar {
  const note = (message: string): void => void lines.push(message);
  const log: Logger = { debug: () => undefined, info: note, warn: note, error: note };
  const address = { host: '127.0.0.1', port: server.port };
  registrar = new Registrar(
    { server: address, entity: ENTITY, log, checkMs, timeoutMs: 5000, backOff: new BackOff(20, 50) },
    first,
  );
  return registrar;
}

/** Wait until the server has this. */
async function has(...entities: string[]): Promise<void> {
  await until(
    () => JSON.stringify(server.describe()) === JSON.stringify(entities),
    () => server.describe().join('\n'),
  );
}

/** Wait until the log has a line. */
async function logged(pattern: RegExp): Promise<void> {
  await until(
    () => lines.some((line) => pattern.test(line)),
    () => `${lines.join('\n')}\nhas no ${String(pattern)}`,
  );
}

async function until(isSo: () => boolean, describe: () => string): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (isSo()) return;
    await delay(10);
  }
  assert.fail(describe());
}

const registrations = () =>
  server.received.filter(({ functionId }) => functionId === FunctionId.DEV_ATTR_REG);

describe('a registrar', { timeout: 60_000 }, () => {
  test('registers entity, portals with their tags, and targets, and deregisters them in the end', async () => {
    const mine = start(wanted([DISK, TAPE], [FIRST, SECOND]));
    await has(`${ENTITY}: ${DISK}, ${TAPE}; 127.0.0.1 3260 1, 127.0.0.2 3260 7`);
    await logged(/registered as host:127.0.0.1:3260: 2 targets, 2 portals/);
    assert.deepEqual(
      registrations().map(({ replace }) => replace),
      [true],
    );
    await mine.close(5000);
    assert.deepEqual(server.describe(), []);
    await logged(/deregistered/);
  });

  test('targets that come and go are changes of the registration, not another one', async () => {
    const mine = start(wanted([DISK]));
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
    mine.update(wanted([DISK, TAPE]));
    await has(`${ENTITY}: ${DISK}, ${TAPE}; 127.0.0.1 3260 1`);
    mine.update(wanted([TAPE]));
    await has(`${ENTITY}: ${TAPE}; 127.0.0.1 3260 1`);
    mine.update(wanted([TAPE], [FIRST, SECOND]));
    await has(`${ENTITY}: ${TAPE}; 127.0.0.1 3260 1, 127.0.0.2 3260 7`);
    mine.update(wanted([TAPE], [SECOND]));
    await has(`${ENTITY}: ${TAPE}; 127.0.0.2 3260 7`);
    assert.deepEqual(
      registrations().map(({ replace }) => replace),
      [true, false, false],
    );
    await logged(/: registered 1 target$/);
    await logged(/: deregistered 1 target$/);
  });

  test('a portal that does not lead to a target is told so', async () => {
    const { nodes, portals } = wanted([DISK, TAPE], [FIRST, SECOND]);
    const mine = start({ nodes: nodes.map((node) => ({ ...node, portalGroupTags: [7] })), portals });
    await has(`${ENTITY}: ${DISK}, ${TAPE}; 127.0.0.1 3260 null, 127.0.0.2 3260 7`);
    mine.update({ nodes: [nodes[0]!, { ...nodes[1]!, portalGroupTags: [7] }], portals });
    await has(`${ENTITY}: ${TAPE}, ${DISK}; 127.0.0.1 3260 null|1, 127.0.0.2 3260 7`);
  });

  test('no node stays: the entity goes, and comes back', async () => {
    const mine = start(wanted([DISK]));
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
    mine.update(wanted([TAPE]));
    await has(`${ENTITY}: ${TAPE}; 127.0.0.1 3260 1`);
    mine.update(wanted([]));
    await has();
    mine.update(wanted([DISK]));
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
  });

  test('what an earlier life has left is replaced', async () => {
    const first = start(wanted([DISK, TAPE], [FIRST, SECOND]));
    await has(`${ENTITY}: ${DISK}, ${TAPE}; 127.0.0.1 3260 1, 127.0.0.2 3260 7`);
    const left = new Map(server.entities);
    await first.close(5000);
    for (const [eid, entity] of left) server.entities.set(eid, entity);
    start(wanted([DISK]));
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
  });

  test('many targets take several messages, of which the first one replaces', async () => {
    const names = Array.from({ length: 100 }, (_, i) => `${DISK}-${String(i).padStart(60, '0')}`);
    const mine = start(wanted(names));
    await has(`${ENTITY}: ${names.join(', ')}; 127.0.0.1 3260 1`);
    const replaces = registrations().map(({ replace }) => replace);
    assert.ok(replaces.length > 2, String(replaces.length));
    assert.deepEqual(
      replaces,
      replaces.map((_, i) => i === 0),
    );
    mine.update(wanted(names.slice(0, 1)));
    await has(`${ENTITY}: ${names[0]!}; 127.0.0.1 3260 1`);
    const deregistrations = server.received.filter(({ functionId }) => functionId === FunctionId.DEV_DEREG);
    assert.ok(deregistrations.length > 1, String(deregistrations.length));
  });

  test('a server that is away at first, and one that forgets', async () => {
    await server.close();
    start(wanted([DISK]), 50);
    await logged(/cannot be reached: .*; trying again/);
    await delay(200);
    assert.equal(lines.length, 1, 'one line for one state');
    await server.listen();
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
    await logged(/all is well again/);

    await server.close();
    server.entities.clear();
    await logged(/(cannot be reached|did not answer): .*; trying again/);
    await server.listen();
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
    await logged(/has lost the registration/);
  });

  test('a portal that the server has dropped is registered again', async () => {
    server.period = 3;
    start(wanted([DISK], [FIRST, SECOND]), 50);
    const all = `${ENTITY}: ${DISK}; 127.0.0.1 3260 1, 127.0.0.2 3260 7`;
    await has(all);
    server.entities.get(ENTITY)!.portals.delete('127.0.0.1 3260');
    await has(`${ENTITY}: ${DISK}; 127.0.0.2 3260 7, 127.0.0.1 3260 1`);
  });

  test('a refusal is told with its name, and tried again', async () => {
    server.refusals.push({ functionId: FunctionId.DEV_ATTR_REG, status: 12 });
    start(wanted([DISK]));
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
    await logged(/refused the registration: Busy \(status 12\); trying again/);
  });

  test('what was refused is not deregistered', async () => {
    for (let i = 0; i < 1000; i++) server.refusals.push({ functionId: FunctionId.DEV_ATTR_REG, status: 8 });
    const mine = start(wanted([DISK]));
    await logged(/Source Unauthorized/);
    await mine.close(5000);
    assert.ok(server.received.every(({ functionId }) => functionId === FunctionId.DEV_ATTR_REG));
  });

  test('what may have been done in spite of an internal error is deregistered', async () => {
    server.refusals.push({ functionId: FunctionId.DEV_ATTR_REG, status: 11 });
    for (let i = 0; i < 1000; i++) server.refusals.push({ functionId: FunctionId.DEV_ATTR_REG, status: 8 });
    const mine = start(wanted([DISK]));
    await logged(/Source Unauthorized/);
    await mine.close(5000);
    assert.equal(server.received.at(-1)!.functionId, FunctionId.DEV_DEREG);
  });

  test('the end does not wait for a server that does not answer', async () => {
    const mine = start(wanted([DISK]));
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
    server.instead = Buffer.alloc(0);
    await mine.close(100);
    await logged(/not deregistered, the registration has to expire: no answer in time/);
  });
});

describe('Entity Status Inquiries', { timeout: 60_000 }, () => {
  const portOf = (): number =>
    find([...server.entities.get(ENTITY)!.portals.get('127.0.0.1 3260')!.values()], ESI_PORT)!;

  test('are answered with what they asked', async () => {
    start(wanted([DISK]));
    await logged(/registered as/);
    const { status, attributes } = await server.inquire(ENTITY);
    assert.equal(status, 0);
    assert.deepEqual(
      attributes.map(({ tag }) => tag),
      [4, 1, 16, 17],
    );
    assert.deepEqual([find(attributes, EID), find(attributes, PORTAL_ADDRESS)], [ENTITY, '127.0.0.1']);
  });

  test('of other entities and portals are not; nor are other functions, and what is malformed', async () => {
    start(wanted([DISK]));
    await logged(/registered as/);
    const inquiry = (eid: string, address: string) => ({
      functionId: FunctionId.ESI,
      attributes: [attribute(EID, eid), attribute(PORTAL_ADDRESS, address), attribute(PORTAL_PORT, 3260)],
    });
    const statusOf = async (request: Parameters<typeof ask>[1]): Promise<number[]> => {
      const { functionId, payload } = await ask(portOf(), request);
      return [functionId, payload.readUInt32BE(0)];
    };
    const answer = FunctionId.ESI | RESPONSE;
    assert.deepEqual(await statusOf(inquiry(ENTITY, '127.0.0.1')), [answer, 0]);
    assert.deepEqual(await statusOf(inquiry('other', '127.0.0.1')), [answer, 9]);
    assert.deepEqual(await statusOf(inquiry(ENTITY, '127.0.0.9')), [answer, 9]);
    assert.deepEqual(await statusOf({ functionId: FunctionId.ESI, attributes: [] }), [answer, 2]);
    assert.deepEqual(await statusOf({ functionId: 8, attributes: [] }), [8 | RESPONSE, 15]);
    const long = { functionId: FunctionId.ESI, attributes: [{ tag: 1, value: new Uint8Array(8192) }] };
    await assert.rejects(ask(portOf(), long), /closed without an answer|ECONNRESET|EPIPE/);
  });

  test('a server that has none is registered with all the same', async () => {
    server.hasEsi = false;
    start(wanted([DISK]));
    await has(`${ENTITY}: ${DISK}; 127.0.0.1 3260 1`);
    await logged(/registered as .*, without Entity Status Inquiries/);
  });
});
