/** Which transport a session comes to: `iser://`, and `auto://`, which takes iSER where it is and TCP where it is not. */

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { freePort } from '../../test/support/free-port.js';
import { PortalRelay, type Treatments } from '../../test/support/portal-relay.js';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { MemoryDevice } from '../block/index.js';
import { acceptIser, RegisteredMemory } from '../datamover/index.js';
import { LoginStatus } from '../iscsi/index.js';
import { BHS_LENGTH, LoginResponse } from '../iscsi/wire/headers.js';
import { Opcode } from '../iscsi/wire/opcodes.js';
import { IwarpDevice } from '../rdma/iwarp/device.js';
import type { RiserError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import { Secret } from '../util/secret.js';
import { connect, discover, Multipath, MultipathPolicy, Session, type SessionOptions } from './index.js';

const WHY_CLOSED =
  /^127\.0\.0\.1 port \d+ does not speak iSER \(it closed the connection when it was asked for iWARP\)$/;
const WHY_SILENT =
  /^127\.0\.0\.1 port \d+ does not speak iSER \(it did not answer within 3 s when it was asked for iWARP\)$/;

let open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.reverse()) await one.close();
  open = [];
});

async function serve(): Promise<TestTarget> {
  const target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
  open.push(target);
  return target;
}

/** A target, and a relay before it. */
async function relayed(treatments: Partial<Treatments>): Promise<PortalRelay> {
  const { port } = await serve();
  const relay = await PortalRelay.start(() => port, treatments);
  open.push(relay);
  return relay;
}

function options(port: number, more: Partial<SessionOptions> = {}): SessionOptions {
  return {
    portal: { host: '127.0.0.1', port },
    transport: 'auto',
    targetName: TARGET_NAME,
    initiatorName: 'iqn.2026-11.com.example:me',
    ...more,
  };
}

async function openSession(port: number, more: Partial<SessionOptions> = {}): Promise<Session> {
  const session = await Session.open(options(port, more));
  open.push(session);
  return session;
}

/** A log that keeps its lines. */
function keptLog(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const keep = (message: string): void => void lines.push(message);
  return { log: { debug: keep, info: keep, warn: keep, error: keep }, lines };
}

const echoes = async (session: Session): Promise<void> => {
  const data = Buffer.from('there and back');
  assert.ok((await session.ping(data)).equals(data));
};

describe('auto://', { timeout: 120_000 }, () => {
  it('reaches iSER where the target has it', async () => {
    const relay = await relayed({});
    const { log, lines } = keptLog();
    const session = await openSession(relay.port, { log });
    assert.deepEqual([session.transport, session.whyNotIser], ['iser', null]);
    assert.equal(session.parameters.rdmaExtensions, true);
    await echoes(session);
    assert.deepEqual(relay.counts, { iser: 1, tcp: 0 });
    assert.deepEqual(lines, []);
  });

  for (const [iser, why] of [
    ['close', WHY_CLOSED],
    ['wait', WHY_SILENT],
  ] as const) {
    it(`takes TCP at a portal that has no iSER (${iser}), and says why`, async () => {
      const relay = await relayed({ iser });
      const { log, lines } = keptLog();
      const session = await openSession(relay.port, { log });
      assert.equal(session.transport, 'tcp');
      assert.match(session.whyNotIser!, why);
      assert.equal(session.parameters.rdmaExtensions, false);
      await echoes(session);
      assert.deepEqual(relay.counts, { iser: 1, tcp: 1 });
      assert.deepEqual(lines, [`over TCP, as iSER was not to be had: ${session.whyNotIser!}`]);
    });
  }

  it('takes TCP where iSER breaks during the login', async () => {
    const relay = await relayed({ iser: 'stall' });
    const session = await openSession(relay.port, { limits: { loginTimeoutMs: 300 } });
    assert.equal(session.transport, 'tcp');
    assert.match(session.whyNotIser!, /^the login is not over after 0\.3 s$/);
  });

  it('takes what the target answers for final: not found, authentication', async () => {
    const { server, port } = await serve();
    const relay = await PortalRelay.start(() => port);
    open.push(relay);
    const none = Session.open(options(relay.port, { targetName: 'iqn.2026-11.com.example:none' }));
    await assert.rejects(none, { code: 'LOGIN_REFUSED', message: /not found/ });
    assert.deepEqual(relay.counts, { iser: 1, tcp: 0 });
    const user = { name: 'alice', secret: new Secret('correct horse battery') };
    const targetName = 'iqn.2026-11.com.example:guarded';
    server.addTarget({ name: targetName, authentication: { chap: { users: [user] } } });
    const wrong = { user: { ...user, secret: new Secret('wrong horse battery') } };
    await assert.rejects(Session.open(options(relay.port, { targetName, authentication: wrong })), {
      code: 'LOGIN_REFUSED',
      message: /authentication/,
    });
    assert.deepEqual(relay.counts, { iser: 2, tcp: 0 });
  });

  it('follows a redirection, and chooses anew where it leads', async () => {
    const elsewhere = await relayed({ iser: 'close' });
    const port = await redirectingTarget(elsewhere.port);
    const session = await openSession(port);
    assert.deepEqual([session.portal.port, session.transport], [elsewhere.port, 'tcp']);
    assert.match(session.whyNotIser!, WHY_CLOSED);
    assert.deepEqual(elsewhere.counts, { iser: 1, tcp: 1 });
  });

  it('is one clear error where nobody listens', async () => {
    const port = await freePort();
    await assert.rejects(Session.open(options(port)), {
      code: 'CONNECT',
      message: `cannot connect to 127.0.0.1 port ${port}: nobody listens there`,
    });
  });

  describe('is given up by a signal', () => {
    const reason = new Error('no more');
    const phases: [string, Partial<Treatments>, keyof Treatments][] = [
      ["while MPA's startup waits", { iser: 'wait' }, 'iser'],
      ['during the login over iSER', { iser: 'stall' }, 'iser'],
      ['during the login over TCP', { iser: 'close', tcp: 'wait' }, 'tcp'],
    ];
    for (const [when, treatments, kind] of phases) {
      it(when, async () => {
        const relay = await relayed(treatments);
        const abort = new AbortController();
        const opening = Session.open(options(relay.port, { signal: abort.signal }));
        const rejected = assert.rejects(opening, reason);
        await relay.came(kind);
        // So that what came is answered, where it is.
        await new Promise((resolve) => setTimeout(resolve, 50));
        abort.abort(reason);
        await rejected;
        assert.deepEqual(relay.counts, { iser: 1, tcp: kind === 'tcp' ? 1 : 0 });
      });
    }

    it('before it begins', async () => {
      const relay = await relayed({});
      const { signal } = ((abort) => (abort.abort(reason), abort))(new AbortController());
      await assert.rejects(Session.open(options(relay.port, { signal })), reason);
      assert.deepEqual(relay.counts, { iser: 0, tcp: 0 });
    });
  });

  it('chooses anew when a lost connection comes back', async () => {
    const relay = await relayed({});
    const session = await openSession(relay.port);
    const again = (): Promise<void> =>
      new Promise((resolve) => {
        const watcher = {
          reconnected: () => {
            session.watchers.delete(watcher);
            resolve();
          },
        };
        session.watchers.add(watcher);
        relay.cut();
      });
    relay.treatments.iser = 'close';
    await again();
    assert.equal(session.transport, 'tcp');
    assert.match(session.whyNotIser!, WHY_CLOSED);
    await echoes(session);
    relay.treatments.iser = 'pass';
    await again();
    assert.deepEqual([session.transport, session.whyNotIser], ['iser', null]);
    await echoes(session);
  });
});

describe('iser://', { timeout: 120_000 }, () => {
  it('says in terms of iSCSI that a portal has TCP only, and what to do', async () => {
    const relay = await relayed({ iser: 'close' });
    const isPlain = (error: RiserError): boolean => {
      assert.equal(error.code, 'NO_ISER');
      assert.match(error.message, WHY_CLOSED);
      assert.match(error.remedy!, /^Use iscsi:\/\/ for TCP, or auto:\/\//);
      return true;
    };
    await assert.rejects(Session.open(options(relay.port, { transport: 'iser' })), isPlain);
    relay.treatments.iser = 'wait';
    const limits = { connectTimeoutMs: 200 };
    await assert.rejects(Session.open(options(relay.port, { transport: 'iser', limits })), {
      code: 'NO_ISER',
      message: /does not speak iSER \(it did not answer within 0\.2 s when it was asked for iWARP\)$/,
    });
    assert.deepEqual(relay.counts, { iser: 2, tcp: 0 });
  });

  it('says of nobody what iscsi:// says', async () => {
    const port = await freePort();
    for (const host of ['127.0.0.1', 'no-such-host.invalid']) {
      const said = [];
      for (const transport of ['iser', 'tcp'] as const)
        said.push(
          await Session.open({ ...options(port, { transport }), portal: { host, port } }).catch(
            (error: unknown) => {
              const { code, message, remedy } = error as RiserError;
              return { code, message, remedy };
            },
          ),
        );
      assert.deepEqual(said[0], said[1]);
      assert.ok('code' in said[0]! && said[0].code === 'CONNECT');
    }
  });

  it('says that digests have no effect', async () => {
    const { port } = await serve();
    const { log, lines } = keptLog();
    const session = await openSession(port, { dataDigest: true, log });
    assert.equal(session.parameters.dataDigest, false);
    assert.match(lines.join('\n'), /^digests were asked for, and have no effect/);
  });

  it('goes by every portal that the target tells, discovery too', async () => {
    const target = await serve();
    const second = await target.server.listen({ address: '127.0.0.1', port: 0 });
    const { port } = target;
    const lun = await connect(`iser://127.0.0.1:${port}/${TARGET_NAME}/0`, {
      multipath: MultipathPolicy.ROUND_ROBIN,
    });
    open.push(lun);
    assert.ok(lun.device.path instanceof Multipath);
    assert.deepEqual(
      lun.device.path.sessions.map(({ portal, transport }) => [portal.port, transport]),
      [port, second.port].map((one) => [one, 'iser']),
    );
    const data = Buffer.alloc(64 << 10, 7);
    await lun.write(0, data);
    assert.ok((await lun.read(0, data.length)).equals(data));
    const { portal, initiatorName } = options(port);
    assert.equal((await discover({ portal, initiatorName, transport: 'iser' }))[0]!.name, TARGET_NAME);
  });
});

/** Over iSER; to every Login Request it answers that the target has moved to this port, and nothing over TCP. */
async function redirectingTarget(to: number): Promise<number> {
  const device = new IwarpDevice();
  const registered = new RegisteredMemory(device, 0);
  const listener = await device.listen(
    { address: '127.0.0.1', port: 0 },
    {
      requested: (request, asked) => {
        const datamover = acceptIser(request, asked, registered, {
          controlNotify: ({ header: asking }) => {
            const data = Buffer.from(`TargetAddress=127.0.0.1:${to},1\0`);
            const header = Buffer.alloc(BHS_LENGTH);
            header[0] = Opcode.LOGIN_RESPONSE;
            // ISID, TSIH and task tag.
            asking.copy(header, 8, 8, 20);
            LoginResponse.statusClass.set(header, LoginStatus.TARGET_MOVED_TEMPORARILY.code >> 8);
            LoginResponse.statusDetail.set(header, LoginStatus.TARGET_MOVED_TEMPORARILY.code & 0xff);
            datamover.sendControl(header, data, data.length);
            datamover.flush();
          },
          dataCompletionNotify: () => undefined,
          dataErrorNotify: () => undefined,
          buffersReleased: () => undefined,
          connectionTerminateNotify: () => undefined,
        });
      },
    },
  );
  open.push(device, listener);
  return listener.port;
}
