import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Secret } from '../../util/secret.js';
import { Bhs, BHS_LENGTH, LoginRequest, LoginResponse } from '../wire/headers.js';
import { DEFAULT_PARAMETERS } from './keys.js';
import { LoginFlag, Opcode } from '../wire/opcodes.js';
import { buildText, parseText } from '../wire/text.js';
import {
  InitiatorLogin,
  type InitiatorLoginOptions,
  type InitiatorLoginOutcome,
  type InitiatorLoginResult,
  type LoginRefused,
  type LoginRequestPdu,
} from './initiator-login.js';
import { INITIATOR_OFFER } from './offer.js';
import { LoginStatus } from './status.js';
import { LoginStage, TargetLogin, type TargetLoginOptions } from './target-login.js';
import { INITIATOR_NAME, POLICY, TARGET_NAME } from './testing/initiator.js';

const CHAP = { user: { name: 'alice', secret: new Secret('correct horse battery') } };

const { SECURITY, OPERATIONAL, FULL_FEATURE } = LoginStage;

function initiator(options: Partial<InitiatorLoginOptions> = {}): InitiatorLogin {
  return new InitiatorLogin({
    initiatorName: INITIATOR_NAME,
    targetName: TARGET_NAME,
    isid: Buffer.from('800102030405', 'hex'),
    initialCmdSN: 1,
    ...options,
  });
}

interface Response {
  csg?: number;
  /** NSG, and with it the T bit. */
  nsg?: number;
  flags?: number;
  status?: number;
  tsih?: number;
  version?: number;
  opcode?: number;
  texts?: readonly string[];
  data?: Buffer;
}

/** A response as a script of the test says. */
function respond(login: InitiatorLogin, response: Response): InitiatorLoginOutcome {
  const { csg = SECURITY, nsg, status = 0, tsih = 0, version = 0, opcode = Opcode.LOGIN_RESPONSE } = response;
  const header = Buffer.alloc(BHS_LENGTH);
  Bhs.opcode.set(header, opcode);
  const transit = nsg === undefined ? 0 : LoginFlag.TRANSIT | nsg;
  Bhs.flags.set(header, (csg << 2) | transit | (response.flags ?? 0));
  LoginResponse.versionActive.set(header, version);
  LoginResponse.tsih.set(header, tsih);
  LoginResponse.statusClass.set(header, status >> 8);
  LoginResponse.statusDetail.set(header, status & 0xff);
  LoginResponse.statSN.set(header, 0xffff_ffff);
  LoginResponse.expCmdSN.set(header, 1);
  LoginResponse.maxCmdSN.set(header, 32);
  const data = response.data ?? Buffer.from((response.texts ?? []).map((text) => `${text}\0`).join(''));
  return login.handleResponse(header, data);
}

function request(outcome: InitiatorLoginOutcome): LoginRequestPdu {
  assert.ok('request' in outcome, 'refused' in outcome ? outcome.refused.message : 'a result');
  return outcome.request;
}

function refused(outcome: InitiatorLoginOutcome): LoginRefused {
  assert.ok('refused' in outcome);
  return outcome.refused;
}

function textOf({ data }: LoginRequestPdu): string[] {
  const text = parseText(data);
  assert.ok('pairs' in text);
  return text.pairs.map(({ key, value }) => `${key}=${value}`);
}

function flagsOf({ header }: LoginRequestPdu): { transit: number | null; csg: number } {
  const flags = Bhs.flags.get(header);
  return { transit: (flags & LoginFlag.TRANSIT) === 0 ? null : flags & 3, csg: (flags >> 2) & 3 };
}

/** In the operational stage, its proposals made. */
function inOperational(options: Partial<InitiatorLoginOptions> = {}): {
  login: InitiatorLogin;
  proposals: LoginRequestPdu;
} {
  const login = initiator(options);
  login.start();
  const outcome = respond(login, { nsg: OPERATIONAL, texts: ['AuthMethod=None'] });
  return { login, proposals: request(outcome) };
}

/** The answers that take every proposal as it is; a key of `but` otherwise, or not at all. */
function answersTo(proposals: LoginRequestPdu, but: Record<string, string | null> = {}): string[] {
  const answers: string[] = [];
  for (const text of textOf(proposals)) {
    const key = text.slice(0, text.indexOf('='));
    const value = key in but ? (but[key] ?? null) : text.slice(key.length + 1).split(',')[0]!;
    if (value !== null) answers.push(`${key}=${value}`);
  }
  return answers;
}

/** Both machines against each other, to the end. */
function logIn(
  options: Partial<InitiatorLoginOptions> = {},
  peer: Partial<TargetLoginOptions> = {},
): InitiatorLoginResult | LoginRefused {
  const login = initiator(options);
  const target = new TargetLogin({
    policy: POLICY,
    authenticator: null,
    initiatorAddress: '192.0.2.7',
    commandWindow: 128,
    ...peer,
  });
  let pdu = login.start();
  for (let i = 0; i < 20; i++) {
    const { response } = target.handleRequest(pdu.header, pdu.data);
    const outcome = login.handleResponse(response!.header, response!.data);
    if ('result' in outcome) return outcome.result;
    if ('refused' in outcome) return outcome.refused;
    pdu = outcome.request;
  }
  throw new Error('the login does not end');
}

describe('against the target of the same house', () => {
  it('logs in to a target', () => {
    const result = logIn();
    assert.ok(!(result instanceof Error));
    assert.deepEqual([result.tsih, result.targetAlias, result.portalGroupTag], [77, 'Disk one', 1]);
    assert.deepEqual([result.cmdSN, result.maxCmdSN], [1, 128]);
    const { parameters } = result;
    assert.equal(parameters.initialR2T, false);
    assert.equal(parameters.immediateData, true);
    assert.equal(parameters.headerDigest, false);
    assert.equal(parameters.targetMaxRecvDataSegmentLength, 262144);
    assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 262144);
    assert.equal(parameters.maxOutstandingR2T, 8);
  });

  it('logs in for discovery', () => {
    const result = logIn({ targetName: null });
    assert.ok(!(result instanceof Error));
    assert.equal(result.portalGroupTag, null);
  });

  it('agrees on digests that it insists on', () => {
    const result = logIn({ offer: { ...INITIATOR_OFFER, headerDigest: ['CRC32C'], dataDigest: ['CRC32C'] } });
    assert.ok(!(result instanceof Error));
    assert.deepEqual([result.parameters.headerDigest, result.parameters.dataDigest], [true, true]);
  });

  it('hears why not', () => {
    const refusal = logIn({ targetName: 'iqn.2001-04.com.example:other' });
    assert.ok(refusal instanceof Error);
    assert.equal(refusal.status, LoginStatus.NOT_FOUND);
    assert.match(refusal.message, /target not found/);
    assert.match(refusal.remedy!, /riser discover/);
  });
});

describe('refusals', () => {
  for (const status of Object.values(LoginStatus)) {
    if (status === LoginStatus.SUCCESS) continue;
    it(`0x${status.code.toString(16)}, ${status.text}`, () => {
      const login = initiator();
      login.start();
      const error = refused(respond(login, { status: status.code }));
      assert.equal(error.status, status);
      assert.equal(error.code, 'LOGIN_REFUSED');
      assert.ok(error.message.includes(status.text));
      assert.equal(error.redirect, null);
    });
  }

  it('of a status that no list has', () => {
    const login = initiator();
    login.start();
    const error = refused(respond(login, { status: 0x0477 }));
    assert.equal(error.status, null);
    assert.match(error.message, /0x0477/);
  });

  it('stand whatever else the response says', () => {
    for (const response of [
      { version: 9 },
      { csg: FULL_FEATURE },
      { flags: LoginFlag.CONTINUE },
      { flags: LoginFlag.CONTINUE | LoginFlag.TRANSIT },
      { data: Buffer.from('no text at all') },
    ]) {
      const login = initiator();
      login.start();
      const error = refused(respond(login, { status: LoginStatus.OUT_OF_RESOURCES.code, ...response }));
      assert.equal(error.status, LoginStatus.OUT_OF_RESOURCES);
    }
  });

  for (const [address, redirect] of [
    ['192.0.2.9:3261', '192.0.2.9:3261'],
    ['192.0.2.9:3261,1', '192.0.2.9:3261'],
    ['[2001:db8::1]:3260,17', '[2001:db8::1]:3260'],
    ['[2001:db8::1]', '[2001:db8::1]'],
    ['storage.example', 'storage.example'],
  ]) {
    it(`that point to ${address}`, () => {
      const login = initiator();
      login.start();
      const status = LoginStatus.TARGET_MOVED_TEMPORARILY.code;
      const error = refused(respond(login, { status, texts: [`TargetAddress=${address}`] }));
      assert.equal(error.redirect, redirect);
    });
  }
});

describe('a target that breaks the rules of the header', () => {
  const cases: [string, RegExp, Response][] = [
    ['with another opcode', /opcode 0x20 during login/, { opcode: Opcode.NOP_IN }],
    ['with an initiator opcode', /opcode 0x3 during login/, { opcode: Opcode.LOGIN_REQUEST }],
    ['with a version that does not exist', /version 1/, { version: 1 }],
    ['in a later stage', /answers in stage 1 while in 0/, { csg: OPERATIONAL }],
    ['in a stage that does not exist', /answers in stage 2/, { csg: 2 }],
    ['with T and C', /both T and C/, { nsg: OPERATIONAL, flags: LoginFlag.CONTINUE }],
    ['that goes on to the same stage', /goes on to stage 0/, { nsg: SECURITY }],
    ['that passes over a stage', /goes on to stage 3/, { nsg: FULL_FEATURE }],
  ];
  for (const [what, message, response] of cases) {
    it(what, () => {
      const login = initiator();
      login.start();
      const error = refused(respond(login, response));
      assert.match(error.message, message);
      assert.equal(error.code, 'LOGIN_PROTOCOL');
    });
  }

  it('that goes on without being asked to', () => {
    const login = initiator({
      authentication: CHAP,
    });
    assert.equal(flagsOf(login.start()).transit, null);
    assert.match(
      refused(respond(login, { nsg: OPERATIONAL, texts: ['AuthMethod=CHAP'] })).message,
      /not asked for/,
    );
  });

  it('with no TSIH at the end', () => {
    const { login, proposals } = inOperational();
    const outcome = respond(login, { csg: OPERATIONAL, nsg: FULL_FEATURE, texts: answersTo(proposals) });
    assert.match(refused(outcome).message, /no TSIH/);
  });
});

describe('authentication', () => {
  for (const [what, texts] of [
    ['is passed over', []],
    ['is declined', ['AuthMethod=None']],
    ['is rejected', ['AuthMethod=Reject']],
    ['is another one', ['AuthMethod=KRB5']],
    ['is a list', ['AuthMethod=CHAP,None']],
  ] as const) {
    it(`that ${what} although it was asked for ends the login`, () => {
      const login = initiator({ authentication: CHAP });
      login.start();
      assert.equal(refused(respond(login, { texts: [...texts] })).code, 'AUTHENTICATION');
    });
  }

  it('that was not asked for ends the login', () => {
    const login = initiator();
    login.start();
    assert.equal(refused(respond(login, { texts: ['AuthMethod=CHAP'] })).code, 'AUTHENTICATION');
  });

  it('may be passed over by a target that wants none', () => {
    const login = initiator();
    login.start();
    assert.deepEqual(flagsOf(request(respond(login, { nsg: OPERATIONAL }))), {
      transit: FULL_FEATURE,
      csg: OPERATIONAL,
    });
  });

  it('is chosen once', () => {
    const login = initiator({ authentication: CHAP });
    login.start();
    request(respond(login, { texts: ['AuthMethod=CHAP'] }));
    assert.match(refused(respond(login, { texts: ['AuthMethod=CHAP'] })).message, /AuthMethod is not due/);
  });

  it('has each of its keys once', () => {
    const login = initiator({ authentication: CHAP });
    login.start();
    assert.match(refused(respond(login, { texts: ['CHAP_A=5', 'CHAP_A=7'] })).message, /CHAP_A twice/);
  });
});

describe('requests', () => {
  it('tell the names and the kind of session at once (RFC 7143 13.4, 13.5, 13.21)', () => {
    const texts = textOf(initiator().start());
    for (const key of ['InitiatorName', 'TargetName', 'SessionType=Normal'])
      assert.equal(texts.filter((text) => text.startsWith(key)).length, 1, key);
    const discovery = textOf(initiator({ targetName: null }).start());
    assert.ok(discovery.includes('SessionType=Discovery'));
    assert.ok(!discovery.some((text) => text.startsWith('TargetName')));
  });

  for (const joins of [null, { tsih: 0x1234, cid: 7, parameters: DEFAULT_PARAMETERS }]) {
    it(`${joins === null ? 'of a new session' : 'of a further connection'} have one version, TSIH and CID (RFC 7143 11.12.4 to 11.12.7)`, () => {
      const login = initiator(joins === null ? {} : { joins });
      const first = login.start();
      // Some targets tell their TSIH before the end.
      const next = request(
        respond(login, { nsg: OPERATIONAL, texts: ['AuthMethod=None'], tsih: joins?.tsih ?? 0x55 }),
      );
      for (const { header } of [first, next]) {
        assert.deepEqual([LoginRequest.versionMax.get(header), LoginRequest.versionMin.get(header)], [0, 0]);
        assert.equal(LoginRequest.tsih.get(header), joins?.tsih ?? 0);
        assert.equal(LoginRequest.cid.get(header), joins?.cid ?? 0);
      }
    });
  }

  it('end with a Reject (RFC 7143 11.17.1)', () => {
    const login = initiator();
    login.start();
    assert.match(refused(respond(login, { opcode: Opcode.REJECT })).message, /opcode 0x3f during login/);
  });
});

describe('the negotiation', () => {
  const end = (login: InitiatorLogin, texts: string[]): InitiatorLoginOutcome =>
    respond(login, { csg: OPERATIONAL, nsg: FULL_FEATURE, texts, tsih: 5 });

  it('ends with what was agreed', () => {
    const { login, proposals } = inOperational();
    const texts = answersTo(proposals, {
      MaxRecvDataSegmentLength: '4096',
      MaxBurstLength: '8192',
      FirstBurstLength: '8192',
      ImmediateData: 'No',
    });
    const outcome = end(login, texts);
    assert.ok('result' in outcome, 'refused' in outcome ? outcome.refused.message : '');
    const { parameters, tsih, expStatSN } = outcome.result;
    assert.deepEqual([tsih, expStatSN], [5, 0]);
    assert.equal(parameters.targetMaxRecvDataSegmentLength, 4096);
    assert.equal(parameters.maxBurstLength, 8192);
    assert.equal(parameters.immediateData, false);
  });

  it('answers what the target proposes, and asks to go on', () => {
    const { login, proposals } = inOperational();
    const next = request(
      respond(login, {
        csg: OPERATIONAL,
        texts: [...answersTo(proposals), 'IFMarker=Yes', 'X-com.example.a=1'],
      }),
    );
    assert.deepEqual(textOf(next), ['IFMarker=Reject', 'X-com.example.a=NotUnderstood']);
    assert.equal(flagsOf(next).transit, FULL_FEATURE);
    assert.ok('result' in end(login, []));
  });

  for (const key of ['MaxBurstLength', 'HeaderDigest', 'ErrorRecoveryLevel', 'MaxOutstandingR2T']) {
    it(`does not end while ${key} is not answered`, () => {
      const { login, proposals } = inOperational();
      assert.match(
        refused(end(login, answersTo(proposals, { [key]: null }))).message,
        new RegExp(`${key} is not answered`),
      );
    });
  }

  it('needs no answer where the proposal settles it', () => {
    const { login, proposals } = inOperational();
    const outcome = end(login, answersTo(proposals, { DataPDUInOrder: null, DataSequenceInOrder: null }));
    assert.ok('result' in outcome);
  });

  it('takes Reject and Irrelevant as no change', () => {
    for (const word of ['Reject', 'Irrelevant']) {
      const { login, proposals } = inOperational();
      const outcome = end(
        login,
        answersTo(proposals, { MaxOutstandingR2T: word, HeaderDigest: word, InitialR2T: word }),
      );
      assert.ok('result' in outcome);
      assert.equal(outcome.result.parameters.maxOutstandingR2T, 1);
      assert.equal(outcome.result.parameters.headerDigest, false);
      assert.equal(outcome.result.parameters.initialR2T, true);
    }
  });

  for (const [key, value] of [
    ['MaxBurstLength', 'NotUnderstood'],
    ['MaxBurstLength', '16777216'],
    ['MaxBurstLength', '2097152'],
    ['MaxBurstLength', '0'],
    ['MaxBurstLength', '511'],
    ['MaxRecvDataSegmentLength', '0'],
    ['MaxRecvDataSegmentLength', '511'],
    ['MaxRecvDataSegmentLength', '16777216'],
    ['MaxRecvDataSegmentLength', 'many'],
    ['HeaderDigest', 'MD5'],
    ['HeaderDigest', 'None,CRC32C'],
    ['ErrorRecoveryLevel', '1'],
    ['MaxConnections', '2'],
    ['DataPDUInOrder', 'No'],
    ['ImmediateData', 'Maybe'],
    ['MaxOutstandingR2T', '0'],
    ['DefaultTime2Wait', '1'],
  ] as const) {
    it(`refuses ${key}=${value}`, () => {
      const { login, proposals } = inOperational();
      assert.match(refused(end(login, answersTo(proposals, { [key]: value }))).message, new RegExp(key));
    });
  }

  it('refuses a key twice, in one response and in two', () => {
    const one = inOperational();
    const twice = [...answersTo(one.proposals), 'ErrorRecoveryLevel=0'];
    assert.match(refused(end(one.login, twice)).message, /ErrorRecoveryLevel/);
    const two = inOperational();
    request(respond(two.login, { csg: OPERATIONAL, texts: ['ErrorRecoveryLevel=0'] }));
    assert.match(refused(end(two.login, ['ErrorRecoveryLevel=0'])).message, /ErrorRecoveryLevel/);
  });

  it('refuses a key that is for initiators', () => {
    const { login } = inOperational();
    assert.match(refused(end(login, ['InitiatorName=iqn.2001-04.com.example:me'])).message, /InitiatorName/);
  });

  it('refuses more unknown keys than it could answer', () => {
    const { login } = inOperational();
    const texts = Array.from({ length: 255 }, (_, i) => `X-com.example.${'y'.repeat(40)}${i}=1`);
    assert.match(
      refused(respond(login, { csg: OPERATIONAL, texts })).message,
      /more keys than can be answered/,
    );
  });
});

describe('text in parts', () => {
  it('is asked for by empty requests, and read as a whole', () => {
    const { login, proposals } = inOperational();
    const text = buildText(
      answersTo(proposals).map((pair) => ({ key: pair.split('=')[0]!, value: pair.split('=')[1]! })),
    );
    for (const at of [0, 40]) {
      const part = request(
        respond(login, { csg: OPERATIONAL, flags: LoginFlag.CONTINUE, data: text.subarray(at, at + 40) }),
      );
      assert.equal(part.data.length, 0);
      assert.deepEqual(flagsOf(part), { transit: null, csg: OPERATIONAL });
    }
    const last = request(respond(login, { csg: OPERATIONAL, data: text.subarray(80) }));
    assert.equal(flagsOf(last).transit, FULL_FEATURE);
    assert.ok('result' in respond(login, { csg: OPERATIONAL, nsg: FULL_FEATURE, tsih: 1 }));
  });

  it('is too long at some point', () => {
    const { login } = inOperational();
    for (let i = 0; i < 8; i++)
      request(
        respond(login, { csg: OPERATIONAL, flags: LoginFlag.CONTINUE, data: Buffer.alloc(8192, 0x41) }),
      );
    const outcome = respond(login, { csg: OPERATIONAL, flags: LoginFlag.CONTINUE, data: Buffer.alloc(1) });
    assert.match(refused(outcome).message, /too long/);
  });

  it('that is none is refused', () => {
    for (const data of [Buffer.from('a=b'), Buffer.from('ab\0'), Buffer.from('\xff=1\0', 'latin1')]) {
      const { login } = inOperational();
      assert.match(refused(respond(login, { csg: OPERATIONAL, data })).message, /cannot be read/);
    }
  });
});

describe('an endless login', () => {
  for (const [what, response] of [
    ['of empty responses', { csg: OPERATIONAL }],
    ['of empty parts', { csg: OPERATIONAL, flags: LoginFlag.CONTINUE }],
  ] as const) {
    it(`${what} is given up`, () => {
      const { login } = inOperational();
      for (let i = 0; i < 40; i++) {
        const outcome = respond(login, response);
        if ('request' in outcome) continue;
        assert.match(refused(outcome).message, /not over after 32 responses/);
        return;
      }
      assert.fail('it goes on');
    });
  }
});

it('answers whatever comes, and never throws', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.uint8Array({ minLength: BHS_LENGTH, maxLength: BHS_LENGTH }),
          fc.uint8Array({ maxLength: 200 }),
          fc.constantFrom(0x00, 0x40, 0x81, 0x04, 0x87, 0x44),
          fc.boolean(),
        ),
        { maxLength: 40 },
      ),
      (responses) => {
        const login = initiator();
        let expStatSN = LoginRequest.expStatSN.get(login.start().header);
        for (const [bytes, data, flags, isMostlyRight] of responses) {
          const header = Buffer.from(bytes);
          if (isMostlyRight) {
            header.fill(0);
            header[0] = Opcode.LOGIN_RESPONSE;
            header[1] = flags;
          }
          const outcome = login.handleResponse(header, Buffer.from(data));
          if (!('request' in outcome)) return;
          expStatSN = (LoginResponse.statSN.get(header) + 1) >>> 0;
          assert.equal(LoginRequest.expStatSN.get(outcome.request.header), expStatSN);
          assert.ok(outcome.request.data.length <= 8192);
        }
      },
    ),
    { numRuns: 300 },
  );
});
