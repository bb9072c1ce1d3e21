/** `redirect` in the configuration file, and what becomes of it when the file is read anew. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '../initiator/index.js';
import { TargetServer } from '../target/index.js';
import { silentLogger } from '../util/logger.js';
import { changesBetween, isEmpty } from './changes.js';
import { parseConfigFile } from './config-file.js';
import { securityWarnings } from './security-warnings.js';
import { Service } from './service.js';

const NAME = 'iqn.2026-11.com.example:disk';

const file = (target: string, portal = '127.0.0.1:3260'): string => `
portals: ['${portal}']
targets:
  - name: ${NAME}
    ${target}
`;
const parse = (text: string) => parseConfigFile(text, '/etc/riser.yaml').configuration;

describe('redirect in the configuration file', () => {
  test('a target that redirects needs no LUNs, and nobody can read or write it here', () => {
    const configuration = parse(file('redirect: { to: storage.example.com }', '0.0.0.0:3260'));
    assert.deepEqual(configuration.targets, [
      { name: NAME, redirect: { to: 'storage.example.com', permanent: false }, luns: [] },
    ]);
    assert.deepEqual(securityWarnings(configuration), []);
  });

  for (const [what, target, message] of [
    ['neither LUNs nor a redirection', 'alias: disk', /:4:5: targets\[0\]: needs luns, or redirect$/],
    ['no address', 'redirect: { permanent: true }', /:5:5: targets\[0\]\.redirect\.to: must be text/],
    ['a wrong address', 'redirect: { to: "a:b:c" }', /:5:17: .*redirect\.to: "a:b:c" is neither HOST nor/],
    ['an own portal', 'redirect: { to: 127.0.0.1 }', /:5:17: .*redirect\.to: is a portal of this server/],
  ] as const)
    test(`${what}: refused`, () => {
      assert.throws(() => parse(file(target)), { code: 'CONFIGURATION', message });
    });

  test('read anew: initiators are sent away, and served again', async () => {
    const here = 'luns: [ { lun: 0, memory: 1M } ]';
    const servers = [new TargetServer(), new TargetServer()];
    const [other, service] = servers.map((server) => new Service(server, silentLogger));
    const [portal] = await other!.start(parse(file(here, '127.0.0.1:0')));
    const away = `redirect: { to: '127.0.0.1:${portal!.port}' }`;
    const [old] = await service!.start(parse(file(here, '127.0.0.1:0')));
    const byteAt = async (write?: number): Promise<number> => {
      const lun = await connect(`iscsi://127.0.0.1:${old!.port}/${NAME}/0`);
      if (write !== undefined) await lun.write(0, Buffer.alloc(512, write));
      const [byte] = await lun.read(0, 512);
      await lun.close();
      return byte!;
    };
    assert.equal(await byteAt(7), 7);
    const redirected = parse(file(`${away}\n    ${here}`, '127.0.0.1:0'));
    await service!.reload(redirected);
    assert.equal(await byteAt(), 0);
    assert.ok(isEmpty(changesBetween(redirected, parse(file(`${away}\n    ${here}`, '127.0.0.1:0')))));
    await service!.reload(parse(file(here, '127.0.0.1:0')));
    assert.equal(await byteAt(), 7);
    await service!.reload(parse(file(away, '127.0.0.1:0')));
    assert.equal(await byteAt(), 0);
    await service!.close(0);
    await other!.close(0);
  });
});
