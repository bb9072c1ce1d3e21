/** `alua` in the configuration file, and what becomes of it when the file is read anew. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { freePort } from '../../test/support/free-port.js';
import { CommandFailed, connect, type Lun } from '../initiator/index.js';
import { TargetServer } from '../target/index.js';
import { RiserError } from '../util/errors.js';
import { type Logger, silentLogger } from '../util/logger.js';
import { changesBetween, isEmpty } from './changes.js';
import { parseConfigFile } from './config-file.js';
import type { Configuration } from './configuration.js';
import { Service } from './service.js';

const NAME = 'iqn.2026-11.com.example:disk';

const file = (groups: string, more = '', portals = '127.0.0.1:1, 127.0.0.1:2'): string => `
portals: [${portals}]
targets:
  - name: ${NAME}
    alua:
      ${more}
      groups:
${groups}
    luns:
      - { lun: 0, memory: 1M }
`;
const TWO = `        - { group: 1, portals: ['127.0.0.1:1'], preferred: true }
        - { group: 2, portals: ['127.0.0.1:2'], state: standby }`;

const read = (text: string): Configuration => parseConfigFile(text, 'riser.yaml').configuration;

function complaints(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    assert.ok(error instanceof RiserError);
    return error.message.split('\n');
  }
  return [];
}

describe('alua in the configuration file', () => {
  test('groups with their portals, states and what initiators may', () => {
    const { alua } = read(file(TWO, 'transitionTime: 60\n      explicit: true')).targets[0]!;
    assert.deepEqual(alua, {
      explicit: true,
      transitionTime: 60,
      groups: [
        {
          group: 1,
          portals: [{ address: '127.0.0.1', port: 1 }],
          state: 'active/optimized',
          preferred: true,
        },
        { group: 2, portals: [{ address: '127.0.0.1', port: 2 }], state: 'standby', preferred: false },
      ],
    });
  });

  const refused: readonly (readonly [what: string, groups: string, message: RegExp])[] = [
    [
      'a group twice',
      TWO.replace('group: 2', 'group: 1'),
      /^riser\.yaml:9:\d+: targets\[0\]\.alua\.groups\[1\]\.group: another/,
    ],
    ['a portal in two groups', TWO.replace(':2', ':1'), /portals\[0\]: 127\.0\.0\.1:1 is in another group/],
    ['a portal that there is not', TWO.replace(':2', ':3'), /127\.0\.0\.1:3 is not among the portals/],
    ['a state that there is not', TWO.replace('standby', 'asleep'), /groups\[1\]\.state: /],
    ['no group', '        []', /alua\.groups: /],
  ];
  for (const [what, groups, message] of refused) {
    test(`${what} is refused`, () => assert.match(complaints(file(groups))[0]!, message));
  }

  test('a portal that the server has twice is refused', () => {
    const groups = `        - { group: 1, portals: ['127.0.0.1:0'] }`;
    assert.match(
      complaints(file(groups, '', '127.0.0.1:0, 127.0.0.1:0'))[0]!,
      /has 2 portals 127\.0\.0\.1:0/,
    );
  });
});

describe('changes of alua', () => {
  const before = read(file(TWO));

  test('another state or preference is a change of the group alone', () => {
    assert.ok(isEmpty(changesBetween(before, read(file(TWO)))));
    const changes = changesBetween(before, read(file(TWO.replace('standby', 'offline'))));
    assert.deepEqual(
      changes.changedGroups.map(({ group }) => [group.group, group.state]),
      [[2, 'offline']],
    );
    assert.deepEqual([changes.addedTargets, changes.removedLuns], [[], []]);
    const preference = changesBetween(before, read(file(TWO.replace('preferred: true', 'preferred: false'))));
    assert.deepEqual(
      preference.changedGroups.map(({ group }) => [group.group, group.preferred]),
      [[1, false]],
    );
  });

  test('other groups, and other rights of initiators, are another target', () => {
    for (const text of [file(TWO.replace('group: 2', 'group: 3')), file(TWO, 'explicit: true')]) {
      const changes = changesBetween(before, read(text));
      assert.deepEqual([changes.removedTargets.length, changes.addedTargets.length], [1, 1]);
      assert.deepEqual(changes.changedGroups, []);
    }
  });
});

test('a running server brings groups into other states, and leaves those that initiators have set', async () => {
  const [first, second] = [await freePort(), await freePort()];
  const portals = `127.0.0.1:${first}, 127.0.0.1:${second}`;
  const groups = (one: string, two: string): string =>
    `        - { group: 1, portals: ['127.0.0.1:${first}'], state: ${one} }
        - { group: 2, portals: ['127.0.0.1:${second}'], state: ${two} }`;
  const configured = (one: string, two: string): Configuration =>
    read(file(groups(one, two), 'explicit: true', portals));
  const lines: string[] = [];
  const log: Logger = { ...silentLogger, info: (message) => lines.push(message) };
  const service = new Service(new TargetServer({ adapters: [], log }), log);
  await service.start(configured('active/optimized', 'standby'));
  const a = await connect(`iscsi://127.0.0.1:${first}/${NAME}/0`);
  const b = await connect(`iscsi://127.0.0.1:${second}/${NAME}/0`);
  const standby = (lun: Lun) =>
    assert.rejects(lun.read(0, 512), (error: unknown) => {
      return error instanceof CommandFailed && error.sense?.asc === 4 && error.sense.ascq === 0x0b;
    });
  try {
    await a.read(0, 512);
    await standby(b);
    await service.reload(configured('standby', 'active/non-optimized'));
    await standby(a);
    await b.read(0, 512);
    assert.ok(lines.includes(`target ${NAME}: target port group 1 is standby`));

    const list = Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]);
    const { status } = await b.command(Buffer.from([0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]), {
      data: list,
    });
    assert.equal(status, 0);
    await a.read(0, 512);
    assert.match(
      lines.at(-1)!,
      /has set the target port groups: 1 active\/optimized, 2 active\/non-optimized/,
    );
    await service.reload(configured('standby', 'unavailable'));
    await a.read(0, 512);
    await assert.rejects(b.read(0, 512), { code: 'COMMAND_FAILED' });
  } finally {
    await a.close();
    await b.close();
    await service.close(0);
  }
});
