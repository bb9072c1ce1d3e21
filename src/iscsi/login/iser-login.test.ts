/** Logins over RDMA (RFC 7145 5.1, 6), both roles, and those of initiators in the field. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Bhs, BHS_LENGTH, LoginResponse } from '../wire/headers.js';
import { LoginFlag, Opcode } from '../wire/opcodes.js';
import { buildText, parseText } from '../wire/text.js';
import { InitiatorLogin, type InitiatorLoginOutcome, type LoginRequestPdu } from './initiator-login.js';
import type { OperationalParameters } from './keys.js';
import { LoginStatus } from './status.js';
import { LoginStage, TargetLogin } from './target-login.js';
import {
  assertRefused,
  FULL_FEATURE,
  INITIATOR_NAME,
  LoginUnderTest,
  NAMES,
  POLICY,
  TARGET_NAME,
  textOf,
  TO_OPERATIONAL,
} from './testing/initiator.js';
import { DISCOVERY_SESSION, normalSession } from './testing/open-iscsi.js';

/** Riser's target on a connection over RDMA, past the security stage. */
function target(names: readonly string[] = NAMES): LoginUnderTest {
  const login = new LoginUnderTest({ isRdma: true });
  login.send(TO_OPERATIONAL, [...names, 'AuthMethod=None']);
  return login;
}

function agreed(login: LoginUnderTest, texts: readonly string[]): OperationalParameters {
  const { result, reason } = login.send(FULL_FEATURE, texts);
  assert.ok(result !== null, reason);
  return result.parameters;
}

describe("Riser's target over RDMA", () => {
  it("takes the login of Linux' initiator", () => {
    const login = target([
      `InitiatorName=${INITIATOR_NAME}`,
      'InitiatorAlias=host',
      `TargetName=${TARGET_NAME}`,
      'SessionType=Normal',
    ]);
    const outcome = login.send(
      FULL_FEATURE,
      normalSession(
        'None',
        'InitiatorRecvDataSegmentLength=262144',
        'TargetRecvDataSegmentLength=262144',
        'RDMAExtensions=Yes',
      ),
    );
    assert.deepEqual(textOf(outcome), [
      'HeaderDigest=None',
      'DataDigest=None',
      'DefaultTime2Wait=2',
      'DefaultTime2Retain=0',
      'IFMarker=Reject',
      'OFMarker=Reject',
      'ErrorRecoveryLevel=0',
      'InitialR2T=Yes',
      'ImmediateData=Yes',
      'MaxBurstLength=16776192',
      'FirstBurstLength=262144',
      'MaxOutstandingR2T=1',
      'MaxConnections=1',
      'DataPDUInOrder=Yes',
      'DataSequenceInOrder=Yes',
      'InitiatorRecvDataSegmentLength=8192',
      'TargetRecvDataSegmentLength=8192',
      'RDMAExtensions=Yes',
    ]);
    const { parameters } = outcome.result!;
    assert.equal(parameters.rdmaExtensions, true);
    assert.deepEqual([parameters.headerDigest, parameters.dataDigest], [false, false]);
    assert.deepEqual([parameters.initialR2T, parameters.immediateData], [true, true]);
    assert.equal(parameters.targetMaxRecvDataSegmentLength, 8192);
    assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 8192);
    assert.equal(parameters.taggedBufferForSolicitedDataOnly, true, 'as Linux does without a word');
    assert.equal(parameters.iSERHelloRequired, false);
  });

  it('takes its discovery session, which has no RDMAExtensions', () => {
    const login = target([`InitiatorName=${INITIATOR_NAME}`, 'SessionType=Discovery']);
    const parameters = agreed(login, DISCOVERY_SESSION);
    assert.equal(parameters.rdmaExtensions, false);
    assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 32768);
    assert.deepEqual([parameters.headerDigest, parameters.dataDigest], [false, false]);
  });

  for (const [what, texts] of [
    ['without RDMAExtensions', ['HeaderDigest=None', 'InitialR2T=Yes']],
    ['with RDMAExtensions=No', ['RDMAExtensions=No']],
    ['with RDMAExtensions=maybe', ['RDMAExtensions=maybe']],
  ] as const) {
    it(`refuses a normal session ${what}`, () => {
      const outcome = target().send(FULL_FEATURE, texts);
      assertRefused(outcome, LoginStatus.INITIATOR_ERROR, /a session over RDMA without RDMAExtensions=Yes/);
    });
  }

  it('waits for RDMAExtensions as long as the login goes on', () => {
    const login = target();
    login.send({ stage: LoginStage.OPERATIONAL }, ['InitialR2T=Yes']);
    assert.equal(agreed(login, ['RDMAExtensions=Yes']).rdmaExtensions, true);
  });

  for (const [proposed, answer] of [
    ['None', 'None'],
    ['CRC32C,None', 'None'],
    ['None,CRC32C', 'None'],
    ['CRC32C', 'Irrelevant'],
  ] as const) {
    for (const first of [true, false]) {
      it(`answers digests ${proposed} with ${answer}, ${first ? 'before' : 'behind'} RDMAExtensions`, () => {
        const login = target();
        const digests = [`HeaderDigest=${proposed}`, `DataDigest=${proposed}`];
        const outcome = login.send(
          FULL_FEATURE,
          first ? [...digests, 'RDMAExtensions=Yes'] : ['RDMAExtensions=Yes', ...digests],
        );
        const answers = textOf(outcome).filter((text) => text.includes('Digest'));
        assert.deepEqual(answers, [`HeaderDigest=${answer}`, `DataDigest=${answer}`]);
        const { headerDigest, dataDigest } = outcome.result!.parameters;
        assert.deepEqual([headerDigest, dataDigest], [false, false]);
      });
    }
  }

  it('has no digests even if RDMAExtensions comes after them', () => {
    const login = target();
    login.send({ stage: LoginStage.OPERATIONAL }, ['HeaderDigest=CRC32C,None', 'DataDigest=None']);
    const { headerDigest, dataDigest } = agreed(login, ['RDMAExtensions=Yes']);
    assert.deepEqual([headerDigest, dataDigest], [false, false]);
  });

  it('takes what an initiator declares for iSER', () => {
    const parameters = agreed(target(), [
      'RDMAExtensions=Yes',
      'MaxOutstandingUnexpectedPDUs=12',
      'TaggedBufferForSolicitedDataOnly=No',
      'iSERHelloRequired=Yes',
      'MaxAHSLength=64',
    ]);
    assert.equal(parameters.initiatorMaxOutstandingUnexpectedPDUs, 12);
    assert.equal(parameters.taggedBufferForSolicitedDataOnly, false);
    assert.equal(parameters.iSERHelloRequired, true);
    assert.equal(parameters.initiatorMaxAHSLength, 64);
  });

  it('refuses values that are none', () => {
    for (const text of [
      'iSERHelloRequired=Perhaps',
      'MaxOutstandingUnexpectedPDUs=1',
      'MaxOutstandingUnexpectedPDUs=-3',
    ])
      assertRefused(
        target().send(FULL_FEATURE, ['RDMAExtensions=Yes', text]),
        LoginStatus.INITIATOR_ERROR,
        /=/,
      );
  });

  it('takes no MaxRecvDataSegmentLength into account (RFC 7145 6.2)', () => {
    const parameters = agreed(target(), [
      'RDMAExtensions=Yes',
      'MaxRecvDataSegmentLength=16777215',
      'InitiatorRecvDataSegmentLength=1024',
    ]);
    assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 1024);
  });
});

/** Riser's initiator in the operational stage, and what it proposes there. */
function initiator(targetName: string | null = TARGET_NAME): { login: InitiatorLogin; proposals: string[] } {
  const login = new InitiatorLogin({
    initiatorName: INITIATOR_NAME,
    targetName,
    isid: Buffer.from('800102030405', 'hex'),
    initialCmdSN: 1,
    isRdma: true,
  });
  login.start();
  const outcome = respond(login, LoginStage.SECURITY, LoginStage.OPERATIONAL, ['AuthMethod=None']);
  assert.ok('request' in outcome);
  return { login, proposals: textIn(outcome.request) };
}

function respond(
  login: InitiatorLogin,
  csg: number,
  nsg: number,
  texts: readonly string[],
): InitiatorLoginOutcome {
  const header = Buffer.alloc(BHS_LENGTH);
  Bhs.opcode.set(header, Opcode.LOGIN_RESPONSE);
  Bhs.flags.set(header, (csg << 2) | LoginFlag.TRANSIT | nsg);
  LoginResponse.tsih.set(header, 1);
  LoginResponse.maxCmdSN.set(header, 32);
  return login.handleResponse(header, Buffer.from(texts.map((text) => `${text}\0`).join('')));
}

function textIn({ data }: LoginRequestPdu): string[] {
  const text = parseText(data);
  assert.ok('pairs' in text);
  assert.deepEqual(buildText(text.pairs), data);
  return text.pairs.map(({ key, value }) => `${key}=${value}`);
}

/** Every proposal is taken as it is, but for those of `but`; null: it is not answered. */
function answer(
  proposals: readonly string[],
  but: Record<string, string | null> = {},
): InitiatorLoginOutcome {
  const { login } = initiator();
  const answers = proposals.flatMap((text) => {
    const key = text.slice(0, text.indexOf('='));
    const value = key in but ? (but[key] ?? null) : text.slice(key.length + 1);
    return value === null ? [] : [`${key}=${value}`];
  });
  return respond(login, LoginStage.OPERATIONAL, LoginStage.FULL_FEATURE, answers);
}

/** Keys that are declared, and so not answered. */
const DECLARED = {
  MaxRecvDataSegmentLength: null,
  MaxOutstandingUnexpectedPDUs: null,
  TaggedBufferForSolicitedDataOnly: null,
};

describe("Riser's initiator over RDMA", () => {
  it('proposes everything in one request', () => {
    const { proposals } = initiator();
    for (const text of [
      'RDMAExtensions=Yes',
      'InitialR2T=Yes',
      'ImmediateData=Yes',
      'InitiatorRecvDataSegmentLength=1024',
      'TargetRecvDataSegmentLength=8192',
      'MaxOutstandingUnexpectedPDUs=32',
      'TaggedBufferForSolicitedDataOnly=Yes',
    ])
      assert.ok(proposals.includes(text), `${text} is not in ${proposals.join(' ')}`);
    assert.ok(!proposals.some((text) => text.includes('Digest')), 'irrelevant once RDMAExtensions=Yes holds');
    assert.ok(!proposals.some((text) => text.startsWith('iSERHelloRequired')));
  });

  it('agrees with a target that takes it all', () => {
    const outcome = answer(initiator().proposals, DECLARED);
    assert.ok('result' in outcome, 'refused' in outcome ? outcome.refused.message : 'a request');
    const { parameters } = outcome.result;
    assert.equal(parameters.rdmaExtensions, true);
    assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 1024);
    assert.equal(parameters.targetMaxRecvDataSegmentLength, 8192);
    assert.equal(parameters.taggedBufferForSolicitedDataOnly, true);
    assert.deepEqual([parameters.headerDigest, parameters.dataDigest], [false, false]);
  });

  for (const value of ['No', 'NotUnderstood', 'Irrelevant', 'Reject', 'yes', null]) {
    it(`leaves a target that answers RDMAExtensions=${value ?? ' with nothing'}`, () => {
      const outcome = answer(initiator().proposals, { ...DECLARED, RDMAExtensions: value });
      assert.ok('refused' in outcome);
      assert.equal(outcome.refused.code, 'LOGIN_PROTOCOL');
      assert.match(outcome.refused.message, /RDMAExtensions/);
    });
  }

  it('discovers without RDMAExtensions', () => {
    const { login, proposals } = initiator(null);
    assert.ok(!proposals.some((text) => text.startsWith('RDMAExtensions')));
    assert.ok(proposals.includes('MaxRecvDataSegmentLength=8192'));
    const answers = proposals.filter((text) => !text.startsWith('MaxRecvDataSegmentLength'));
    const outcome = respond(login, LoginStage.OPERATIONAL, LoginStage.FULL_FEATURE, answers);
    assert.ok('result' in outcome, 'refused' in outcome ? outcome.refused.message : 'a request');
  });

  for (const targetName of [TARGET_NAME, null]) {
    it(`comes to terms with Riser's target, ${targetName === null ? 'for discovery' : 'for disks'}`, () => {
      const login = new InitiatorLogin({
        initiatorName: INITIATOR_NAME,
        targetName,
        isid: Buffer.from('800102030405', 'hex'),
        initialCmdSN: 1,
        isRdma: true,
      });
      const peer = new TargetLogin({
        policy: POLICY,
        authenticator: null,
        initiatorAddress: '192.0.2.7',
        commandWindow: 128,
        isRdma: true,
      });
      let pdu = login.start();
      for (let turns = 1; ; turns++) {
        const { response, result: theirs } = peer.handleRequest(pdu.header, pdu.data);
        const outcome = login.handleResponse(response!.header, response!.data);
        assert.ok(!('refused' in outcome), 'refused' in outcome ? outcome.refused.message : '');
        if ('result' in outcome) {
          assert.equal(turns, 2);
          assert.equal(outcome.result.parameters.rdmaExtensions, targetName !== null);
          assert.deepEqual(theirs!.parameters, {
            ...outcome.result.parameters,
            ...onesOwn(theirs!.parameters),
          });
          return;
        }
        pdu = outcome.request;
      }
    });
  }
});

/** What each side says of itself and the other need not know. */
function onesOwn(parameters: OperationalParameters): Partial<OperationalParameters> {
  const { targetMaxOutstandingUnexpectedPDUs, taggedBufferForSolicitedDataOnly, taskReporting } = parameters;
  return { targetMaxOutstandingUnexpectedPDUs, taggedBufferForSolicitedDataOnly, taskReporting };
}
