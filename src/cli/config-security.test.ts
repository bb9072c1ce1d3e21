/** What a configuration file may say about who gets in. */

import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { temporaryFolder } from '../../test/support/temporary.js';
import { parseConfigFile } from './config-file.js';
import { securityWarnings } from './security-warnings.js';

const folder = temporaryFolder();
const PATH = join(folder, 'riser.yaml');
const SECRETS = {
  alice: 'alice has a secret',
  bob: 'bob has another one',
  riser: 'the target has one',
  short: 'too short',
};
for (const [name, secret] of Object.entries(SECRETS)) {
  writeFileSync(join(folder, name), `${secret}\n`);
  chmodSync(join(folder, name), name === 'bob' ? 0o644 : 0o600);
}
process.env['RISER_TEST_SECRET'] = SECRETS.bob;

const configure = (text: string) => parseConfigFile(text, PATH).configuration;

/** A file with one target that has this besides. */
const withTarget = (lines: string): string =>
  `targets:\n  - name: iqn.2001-04.com.example\n    luns: [ { lun: 0, memory: 1M }, { lun: 3, memory: 1M } ]\n${lines
    .split('\n')
    .map((line) => `    ${line}\n`)
    .join('')}`;

/** The lines of the message that `text` is refused with, without the file's name. */
function complaints(text: string): string[] {
  try {
    configure(text);
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'CONFIGURATION');
    const { message } = error as Error;
    for (const secret of Object.values(SECRETS)) assert.ok(!message.includes(secret), message);
    return message.split('\n').map((line) => line.replace(`${PATH}:`, ''));
  }
  assert.fail('the file was taken');
}

test('everything that can be said', () => {
  const { targets, discoveryAuthentication, failedLogins } = configure(`
discovery:
  auth: { chap: { users: [ { name: finder, secretFile: ./alice } ] } }
failedLogins: { limit: 3, window: 1.5, pause: 600 }
${withTarget(`auth:
  chap:
    users:
      - { name: alice, secretFile: alice }
      - { name: bob, secretEnv: RISER_TEST_SECRET }
    mutual: { name: riser, secretFile: ${join(folder, 'riser')} }
    algorithms: [ SHA3-256, SHA256 ]
access:
  - initiators: [ iqn.2001-04.com.EXAMPLE:host ]
    addresses: [ 192.0.2.0/24, "2001:db8::1" ]
    users: [ alice ]
    luns: { 0: 3 }
  - {}`)}`);
  const { chap } = targets[0]!.authentication!;
  const shown = ({ name, secret }: { name: string; secret: unknown }) => [
    name,
    (secret as { reveal(): Buffer }).reveal().toString(),
  ];
  assert.deepEqual(chap.users.map(shown), [
    ['alice', SECRETS.alice],
    ['bob', SECRETS.bob],
  ]);
  assert.deepEqual(shown(chap.mutual!), ['riser', SECRETS.riser]);
  assert.deepEqual(chap.algorithms, ['SHA3-256', 'SHA256']);
  assert.deepEqual(targets[0]!.access, [
    {
      initiators: ['iqn.2001-04.com.example:host'],
      addresses: ['192.0.2.0/24', '2001:db8::1'],
      users: ['alice'],
      luns: { 0: 3 },
    },
    {},
  ]);
  assert.deepEqual(discoveryAuthentication?.chap.users.map(shown), [['finder', SECRETS.alice]]);
  assert.deepEqual(failedLogins, {
    failedLogins: 3,
    failedLoginWindowMs: 1500,
    failedLoginPauseMs: 600_000,
  });
  const printed = inspect(targets, { depth: 20, showHidden: true }) + JSON.stringify(targets);
  for (const secret of Object.values(SECRETS)) assert.ok(!printed.includes(secret));
});

test('none is the same as nothing', () => {
  const said = configure(`discovery: { auth: none }\n${withTarget('auth: none')}`);
  assert.deepEqual(said, configure(withTarget('# nothing')));
  assert.equal(said.targets[0]!.authentication, undefined);
  assert.equal(said.targets[0]!.access, undefined);
});

describe('mistakes are told with their place', () => {
  const users = (text: string) => withTarget(`auth: { chap: { users: [ ${text} ] } }`);
  const ALICE = '{ name: alice, secretFile: alice }';
  const refused: [string, string, RegExp][] = [
    [
      'a secret in the file',
      users('{ name: alice, secret: open }'),
      /users\[0\]\.secret: there is no such key/,
    ],
    ['no secret', users('{ name: alice }'), /users\[0\]: needs either secretFile or secretEnv/],
    [
      'two secrets',
      users('{ name: alice, secretFile: a, secretEnv: A }'),
      /needs either secretFile or secretEnv/,
    ],
    ['no users', users(''), /^4:\d+: targets\[0\]\.auth\.chap\.users: /],
    [
      'chap alone',
      withTarget('auth: chap'),
      /^4:5: targets\[0\]\.auth: must be none, or chap with its users/,
    ],
    ['another method', withTarget('auth: { srp: {} }'), /auth\.srp: there is no such key|auth\.chap: /],
    [
      'an algorithm that is none',
      withTarget(`auth: { chap: { users: [ ${ALICE} ], algorithms: [ MD4 ] } }`),
      /algorithms\[0\]: /,
    ],
    ['no algorithm', withTarget(`auth: { chap: { users: [ ${ALICE} ], algorithms: [] } }`), /algorithms: /],
    [
      'a file that is not there',
      users('{ name: alice, secretFile: none }'),
      /^4:\d+: .*users\[0\]\.secretFile: cannot read the secret: ENOENT/,
    ],
    [
      'a file that others may read',
      users('{ name: bob, secretFile: bob }'),
      /secretFile: others may read .*, its mode is 0644: chmod 600 /,
    ],
    [
      'a variable that is not set',
      users('{ name: alice, secretEnv: RISER_TEST_NONE }'),
      /secretEnv: the environment variable RISER_TEST_NONE is not set/,
    ],
    [
      'a short secret',
      users('{ name: alice, secretFile: short }'),
      /auth\.chap: the CHAP secret of "alice" has 9 bytes: Give it 12 to 255/,
    ],
    ['a user twice', users(`${ALICE}, ${ALICE}`), /auth\.chap: two CHAP users have the same name/],
    [
      'one secret for both directions',
      withTarget(`auth: { chap: { users: [ ${ALICE} ], mutual: { name: riser, secretFile: alice } } }`),
      /auth\.chap: the target has the same secret/,
    ],
    ['rules that are none', withTarget('access: everybody'), /^4:5: targets\[0\]\.access: /],
    [
      'a rule with a wrong key',
      withTarget('access: [ { initiator: [] } ]'),
      /access\[0\]\.initiator: there is no such key/,
    ],
    [
      'an address that is none',
      withTarget('access: [ { addresses: [ 192.0.2.1, 192.0.2 ] } ]'),
      /^4:\d+: targets\[0\]\.access\[0\]\.addresses\[1\]: "192\.0\.2" is neither/,
    ],
    [
      'a user whom nobody knows',
      withTarget(`auth: { chap: { users: [ ${ALICE} ] } }\naccess: [ { users: [ bob ] } ]`),
      /^5:\d+: targets\[0\]\.access\[0\]: a rule names the CHAP user "bob"/,
    ],
    [
      'users without CHAP',
      withTarget('access: [ { users: [ bob ] } ]'),
      /access\[0\]: .* the target has no CHAP/,
    ],
    [
      'a LUN that is not there',
      withTarget('access: [ { luns: { 0: 1 } } ]'),
      /^4:\d+: targets\[0\]\.access\[0\]\.luns\.0: the target has no LUN 1/,
    ],
    [
      'a LUN shown twice',
      withTarget('access: [ { luns: { 0: 3, 1: 3 } } ]'),
      /access\[0\]: a rule shows LUN 3 twice/,
    ],
    ['a LUN by name', withTarget('access: [ { luns: { one: 3 } } ]'), /luns/],
    [
      'no failed login at all',
      `failedLogins: { limit: 0 }\n${withTarget('auth: none')}`,
      /^1:\d+: failedLogins\.limit: /,
    ],
    [
      'a pause without end',
      `failedLogins: { pause: 1e9 }\n${withTarget('auth: none')}`,
      /failedLogins\.pause: /,
    ],
  ];
  for (const [what, text, message] of refused) {
    test(what, () => assert.match(complaints(text).join('\n'), message));
  }

  test("the target's secret must be that of no user of another target either", () => {
    const text = `${withTarget(`auth: { chap: { users: [ ${ALICE} ] } }`)}
  - name: iqn.2001-04.com.example:two
    luns: []
    auth: { chap: { users: [ { name: bob, secretEnv: RISER_TEST_SECRET } ], mutual: { name: riser, secretFile: alice } } }
`;
    const found = complaints(text);
    assert.equal(found.length, 1);
    assert.match(found[0]!, /targets\[1\]\.auth\.chap\.mutual: a CHAP user has this secret too/);
  });
});

describe('warnings', () => {
  const open = 'portals: [ "127.0.0.1:1", "0.0.0.0:2", "[::]:3" ]\n';
  const chap = 'auth: { chap: { users: [ { name: alice, secretFile: alice } ] } }';

  test('a portal that others reach, without authentication', () => {
    assert.deepEqual(securityWarnings(configure(open + withTarget(chap))), []);
    assert.deepEqual(securityWarnings(configure(withTarget('auth: none'))), []);
    const [warning, ...more] = securityWarnings(configure(open + withTarget('auth: none')));
    assert.match(
      warning!,
      /^0\.0\.0\.0:2, \[::\]:3 are open .* no authentication for iqn\.2001-04\.com\.example: whoever/,
    );
    assert.deepEqual(more, []);
    const rules = securityWarnings(
      configure(open + withTarget('access: [ { addresses: [ 192.0.2.0/24 ] } ]')),
    );
    assert.match(rules[0]!, /its access rules admit/);
  });

  test('users with one secret', () => {
    const shared = securityWarnings(
      configure(
        `discovery: { auth: { chap: { users: [ { name: bob, secretFile: alice } ] } } }\n${withTarget(chap)}`,
      ),
    );
    assert.deepEqual(shared, ['CHAP users alice and bob have the same secret: each can pass for the other']);
  });
});
