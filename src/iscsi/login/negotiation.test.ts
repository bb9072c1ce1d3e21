import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DEFAULT_PARAMETERS, type KeyRule, KEYS, type OperationalParameters, type Stage } from './keys.js';
import { Negotiation, type NegotiationOptions } from './negotiation.js';
import { type Offer, TARGET_OFFER } from './offer.js';
import type { TextPair } from '../wire/text.js';

function target(options: Partial<NegotiationOptions> = {}): Negotiation {
  return new Negotiation({
    role: 'target',
    offer: TARGET_OFFER,
    sessionType: 'Normal',
    leading: true,
    ...options,
  });
}

function pairs(...texts: string[]): TextPair[] {
  return texts.map((text) => {
    const at = text.indexOf('=');
    return { key: text.slice(0, at), value: text.slice(at + 1) };
  });
}

function answers(negotiation: Negotiation, texts: string[], stage: Stage = 'operational'): string[] {
  const received = negotiation.receive(pairs(...texts), stage);
  assert.ok('answers' in received, 'violation' in received ? received.violation : '');
  return received.answers.map(({ key, value }) => `${key}=${value}`);
}

function violation(negotiation: Negotiation, texts: string[], stage: Stage = 'operational'): string {
  const received = negotiation.receive(pairs(...texts), stage);
  assert.ok('violation' in received, 'accepted');
  return received.violation;
}

/** Proposed to Riser's target, and its answer. */
const ANSWERS: readonly [proposal: string, answer: string | null][] = [
  ['HeaderDigest=None', 'HeaderDigest=None'],
  ['HeaderDigest=CRC32C', 'HeaderDigest=CRC32C'],
  ['HeaderDigest=None,CRC32C', 'HeaderDigest=None'],
  ['HeaderDigest=CRC32C,None', 'HeaderDigest=CRC32C'],
  ['DataDigest=Y-com.example.hash,CRC32C', 'DataDigest=CRC32C'],
  ['DataDigest=MD5', 'DataDigest=Reject'],
  ['DataDigest=', 'DataDigest=Reject'],
  ['MaxConnections=8', 'MaxConnections=1'],
  ['MaxConnections=0', 'MaxConnections=Reject'],
  ['MaxConnections=65536', 'MaxConnections=Reject'],
  ['InitialR2T=No', 'InitialR2T=No'],
  ['InitialR2T=Yes', 'InitialR2T=Yes'],
  ['InitialR2T=yes', 'InitialR2T=Reject'],
  ['ImmediateData=Yes', 'ImmediateData=Yes'],
  ['ImmediateData=No', 'ImmediateData=No'],
  ['MaxRecvDataSegmentLength=65536', null],
  ['MaxBurstLength=16776192', 'MaxBurstLength=1048576'],
  ['MaxBurstLength=0x200', 'MaxBurstLength=512'],
  ['MaxBurstLength=511', 'MaxBurstLength=Reject'],
  ['MaxBurstLength=16777216', 'MaxBurstLength=Reject'],
  ['MaxBurstLength=512~1024', 'MaxBurstLength=Reject'],
  ['FirstBurstLength=262144', 'FirstBurstLength=262144'],
  ['FirstBurstLength=16777215', 'FirstBurstLength=262144'],
  ['DefaultTime2Wait=0', 'DefaultTime2Wait=2'],
  ['DefaultTime2Wait=60', 'DefaultTime2Wait=60'],
  ['DefaultTime2Wait=3601', 'DefaultTime2Wait=Reject'],
  ['DefaultTime2Retain=20', 'DefaultTime2Retain=0'],
  ['MaxOutstandingR2T=1', 'MaxOutstandingR2T=1'],
  ['MaxOutstandingR2T=64', 'MaxOutstandingR2T=16'],
  ['DataPDUInOrder=Yes', 'DataPDUInOrder=Yes'],
  ['DataPDUInOrder=No', 'DataPDUInOrder=Yes'],
  ['DataSequenceInOrder=No', 'DataSequenceInOrder=Yes'],
  ['ErrorRecoveryLevel=2', 'ErrorRecoveryLevel=0'],
  ['ErrorRecoveryLevel=3', 'ErrorRecoveryLevel=Reject'],
  ['TaskReporting=RFC3720,ResponseFence', 'TaskReporting=RFC3720'],
  ['TaskReporting=FastAbort,ResponseFence,RFC3720', 'TaskReporting=ResponseFence'],
  ['iSCSIProtocolLevel=1', 'iSCSIProtocolLevel=1'],
  ['iSCSIProtocolLevel=2', 'iSCSIProtocolLevel=2'],
  ['iSCSIProtocolLevel=3', 'iSCSIProtocolLevel=2'],
  ['iSCSIProtocolLevel=0', 'iSCSIProtocolLevel=0'],
  ['RDMAExtensions=Yes', 'RDMAExtensions=No'],
  ['RDMAExtensions=No', 'RDMAExtensions=No'],
  ['InitiatorRecvDataSegmentLength=8192', 'InitiatorRecvDataSegmentLength=Irrelevant'],
  ['TargetRecvDataSegmentLength=8192', 'TargetRecvDataSegmentLength=Irrelevant'],
  ['MaxOutstandingUnexpectedPDUs=0', null],
  ['MaxAHSLength=256', null],
  ['TaggedBufferForSolicitedDataOnly=No', null],
  ['iSERHelloRequired=No', null],
  ['IFMarker=No', 'IFMarker=Reject'],
  ['OFMarker=Yes', 'OFMarker=Reject'],
  ['IFMarkInt=2048~8192', 'IFMarkInt=Reject'],
  ['OFMarkInt=2048', 'OFMarkInt=Reject'],
  ['X-com.example.feature=on', 'X-com.example.feature=NotUnderstood'],
  ['NewPublicKey=1', 'NewPublicKey=NotUnderstood'],
  ['X#NodeArchitecture=ExampleOS/1', null],
];

describe("answers of Riser's target", () => {
  for (const [proposal, answer] of ANSWERS) {
    test(`${proposal} -> ${answer ?? '(none)'}`, () => {
      assert.deepEqual(answers(target(), [proposal]), answer === null ? [] : [answer]);
    });
  }

  test('every negotiated or obsolete key of the table is among them', () => {
    const tried = new Set(ANSWERS.map(([proposal]) => proposal.split('=')[0]));
    const wanted = KEYS.filter(({ kind }) => !['declaredText', 'query'].includes(kind)).map(
      ({ name }) => name,
    );
    assert.deepEqual(
      wanted.filter((name) => !tried.has(name)),
      [],
    );
  });
});

describe('results', () => {
  test('nothing proposed leaves the defaults', () => {
    assert.deepEqual(target().result(), DEFAULT_PARAMETERS);
  });

  test('what is answered is in force, what is rejected stays', () => {
    const negotiation = target();
    answers(negotiation, [
      'HeaderDigest=CRC32C',
      'DataDigest=SHA1',
      'InitialR2T=No',
      'MaxBurstLength=100',
      'MaxRecvDataSegmentLength=0x10000',
      'TaskReporting=ResponseFence,RFC3720',
    ]);
    assert.deepEqual(negotiation.propose('operational'), pairs('MaxRecvDataSegmentLength=262144'));
    assert.deepEqual(negotiation.propose('operational'), []);
    assert.deepEqual(negotiation.result(), {
      ...DEFAULT_PARAMETERS,
      headerDigest: true,
      initialR2T: false,
      initiatorMaxRecvDataSegmentLength: 65536,
      targetMaxRecvDataSegmentLength: 262144,
      taskReporting: 'ResponseFence',
    });
  });

  test('FirstBurstLength stays within MaxBurstLength, in whatever order and even as a default', () => {
    assert.deepEqual(answers(target(), ['FirstBurstLength=65536', 'MaxBurstLength=8192']), [
      'FirstBurstLength=8192',
      'MaxBurstLength=8192',
    ]);
    const later = target();
    answers(later, ['FirstBurstLength=65536']);
    answers(later, ['MaxBurstLength=8192']);
    assert.equal(later.result().firstBurstLength, 8192);
    const byDefault = target();
    answers(byDefault, ['MaxBurstLength=512']);
    assert.equal(byDefault.result().firstBurstLength, 512);
  });

  test('FirstBurstLength is irrelevant without unsolicited data (RFC 7143 13.14)', () => {
    assert.deepEqual(answers(target(), ['FirstBurstLength=4192', 'InitialR2T=Yes', 'ImmediateData=No']), [
      'FirstBurstLength=Irrelevant',
      'InitialR2T=Yes',
      'ImmediateData=No',
    ]);
  });

  test('with recovery and sequences in order one R2T is outstanding (RFC 7143 13.19)', () => {
    const offer = { ...TARGET_OFFER, errorRecoveryLevel: 2 };
    assert.deepEqual(answers(target({ offer }), ['MaxOutstandingR2T=8', 'ErrorRecoveryLevel=2']), [
      'MaxOutstandingR2T=1',
      'ErrorRecoveryLevel=2',
    ]);
    const later = target({ offer });
    answers(later, ['MaxOutstandingR2T=8']);
    answers(later, ['ErrorRecoveryLevel=1']);
    assert.equal(later.result().maxOutstandingR2T, 1);
  });

  test('RDMAExtensions=Yes makes digests irrelevant and replaces MaxRecvDataSegmentLength (RFC 7145 6.1, 6.2)', () => {
    const offer = { ...TARGET_OFFER, rdmaExtensions: true, targetRecvDataSegmentLength: 4096 };
    const negotiation = target({ offer });
    assert.deepEqual(
      answers(negotiation, [
        'HeaderDigest=CRC32C',
        'InitiatorRecvDataSegmentLength=262144',
        'TargetRecvDataSegmentLength=262144',
        'RDMAExtensions=Yes',
        'MaxOutstandingUnexpectedPDUs=2',
        'iSERHelloRequired=Yes',
      ]),
      [
        'HeaderDigest=Irrelevant',
        'InitiatorRecvDataSegmentLength=8192',
        'TargetRecvDataSegmentLength=4096',
        'RDMAExtensions=Yes',
      ],
    );
    const result = negotiation.result();
    assert.equal(result.headerDigest, false);
    assert.equal(result.targetMaxRecvDataSegmentLength, 4096);
    assert.equal(result.initiatorMaxRecvDataSegmentLength, 8192);
    assert.equal(result.initiatorMaxOutstandingUnexpectedPDUs, 2);
    assert.equal(result.iSERHelloRequired, true);
  });

  test('a discovery session finds most keys irrelevant, and ErrorRecoveryLevel 0 (RFC 7143 7.4.1)', () => {
    assert.deepEqual(
      answers(target({ sessionType: 'Discovery', offer: { ...TARGET_OFFER, errorRecoveryLevel: 2 } }), [
        'HeaderDigest=None',
        'InitialR2T=No',
        'ImmediateData=Yes',
        'MaxBurstLength=262144',
        'MaxConnections=1',
        'DefaultTime2Wait=2',
        'ErrorRecoveryLevel=1',
        'RDMAExtensions=Yes',
      ]),
      [
        'HeaderDigest=None',
        'InitialR2T=Irrelevant',
        'ImmediateData=Irrelevant',
        'MaxBurstLength=Irrelevant',
        'MaxConnections=Irrelevant',
        'DefaultTime2Wait=2',
        'ErrorRecoveryLevel=0',
        'RDMAExtensions=Irrelevant',
      ],
    );
  });
});

describe('violations', () => {
  test('a key sent twice, in one text or in two', () => {
    assert.match(violation(target(), ['InitialR2T=No', 'InitialR2T=No']), /InitialR2T is sent twice/);
    const negotiation = target();
    answers(negotiation, ['InitialR2T=No']);
    assert.match(violation(negotiation, ['InitialR2T=No']), /InitialR2T is sent again/);
    const unknown = target();
    answers(unknown, ['X-a=1']);
    assert.match(violation(unknown, ['X-a=1']), /X-a is sent again/);
  });

  test('a name repeated unchanged in the next stage passes, as libiscsi does; a changed one does not', () => {
    const negotiation = target();
    answers(negotiation, ['InitiatorName=iqn.a', 'SessionType=Normal'], 'security');
    assert.deepEqual(answers(negotiation, ['InitiatorName=iqn.a', 'InitialR2T=No']), ['InitialR2T=No']);
    const changed = target();
    answers(changed, ['InitiatorName=iqn.a'], 'security');
    assert.match(violation(changed, ['InitiatorName=iqn.b']), /InitiatorName is sent again/);
    const sameStage = target();
    answers(sameStage, ['InitiatorName=iqn.a']);
    assert.match(violation(sameStage, ['InitiatorName=iqn.a']), /sent again/);
  });

  test('reserved values as proposals', () => {
    for (const value of ['Reject', 'Irrelevant', 'NotUnderstood']) {
      assert.match(violation(target(), [`InitialR2T=${value}`]), /reserved value/);
      assert.match(violation(target(), [`X-key=${value}`]), /reserved value/);
    }
  });

  test('keys of the other side, of another stage, of the leading login', () => {
    assert.match(violation(target(), ['TargetAlias=disk']), /for the target to send/);
    assert.match(violation(target(), ['TargetPortalGroupTag=1']), /for the target to send/);
    assert.match(violation(target(), ['InitialR2T=No'], 'security'), /not allowed in the security stage/);
    assert.match(violation(target(), ['SendTargets=All']), /not allowed in the operational stage/);
    assert.match(violation(target(), ['AuthMethod=None']), /SecurityNegotiation/);
    assert.match(violation(target(), ['CHAP_A=5']), /SecurityNegotiation/);
    assert.match(violation(target({ leading: false }), ['InitialR2T=No']), /not allowed/);
    assert.deepEqual(answers(target({ leading: false }), ['HeaderDigest=None']), ['HeaderDigest=None']);
    assert.match(
      violation(target(), ['HeaderDigest=None'], 'fullFeature'),
      /not allowed in the fullFeature stage/,
    );
    assert.deepEqual(answers(target(), ['MaxRecvDataSegmentLength=4096'], 'fullFeature'), []);
  });

  test('declarations out of bounds (RFC 7143 7.12)', () => {
    for (const value of ['511', '16777216', '0', 'many', '']) {
      assert.match(violation(target(), [`MaxRecvDataSegmentLength=${value}`]), /not a number from 512/);
    }
    assert.match(violation(target(), ['MaxAHSLength=1']), /not a number from 2/);
    assert.match(violation(target(), ['iSERHelloRequired=maybe']), /neither Yes nor No/);
  });

  test('simple values have 255 bytes at most (RFC 7143 6.1)', () => {
    assert.deepEqual(answers(target(), [`InitiatorAlias=${'x'.repeat(255)}`]), []);
    assert.match(violation(target(), [`InitiatorAlias=${'x'.repeat(256)}`]), /longer than 255/);
    assert.match(violation(target(), [`InitiatorAlias=${'é'.repeat(128)}`]), /longer than 255/);
    assert.match(violation(target(), [`MaxBurstLength=0x${'0'.repeat(300)}1`]), /longer than 255/);
  });
});

const INITIATOR_OFFER: Offer = {
  ...DEFAULT_PARAMETERS,
  headerDigest: ['CRC32C', 'None'],
  dataDigest: ['None'],
  taskReporting: ['RFC3720', 'ResponseFence'],
  initialR2T: false,
  initiatorMaxRecvDataSegmentLength: 262144,
  maxBurstLength: 16776192,
  firstBurstLength: 262144,
  sends: KEYS.filter(({ senders }) => senders !== 'target').map(({ name }) => name),
};

function initiator(offer: Offer = INITIATOR_OFFER): Negotiation {
  return new Negotiation({ role: 'initiator', offer, sessionType: 'Normal', leading: true });
}

describe("the initiator's role", () => {
  test('it accepts what its proposals allow and refuses what they do not', () => {
    const admissible: [answer: string, fine: boolean][] = [
      ['HeaderDigest=None', true],
      ['HeaderDigest=MD5', false],
      ['DataDigest=CRC32C', false],
      ['MaxBurstLength=512', true],
      ['MaxBurstLength=16777215', false],
      ['MaxBurstLength=1', false],
      ['DefaultTime2Wait=1', false],
      ['DefaultTime2Wait=30', true],
      ['InitialR2T=Yes', true],
      ['DataPDUInOrder=No', false],
      ['ImmediateData=perhaps', false],
      ['MaxBurstLength=Reject', true],
      ['FirstBurstLength=Irrelevant', true],
      ['MaxConnections=NotUnderstood', false],
      ['TaskReporting=NotUnderstood', true],
      ['iSCSIProtocolLevel=NotUnderstood', true],
      ['TargetAlias=disk', true],
    ];
    for (const [answer, fine] of admissible) {
      const negotiation = initiator();
      negotiation.propose('operational');
      assert.equal('answers' in negotiation.receive(pairs(answer), 'operational'), fine, answer);
    }
  });

  test('every proposal needs an answer, except booleans that decide by themselves', () => {
    const offer = { ...INITIATOR_OFFER, immediateData: false, sends: ['ImmediateData', 'DataPDUInOrder'] };
    const alone = initiator(offer);
    assert.deepEqual(alone.propose('operational'), pairs('ImmediateData=No', 'DataPDUInOrder=Yes'));
    assert.equal(alone.conclude(), null);
    assert.equal(alone.result().immediateData, false);
    const open = initiator({ ...INITIATOR_OFFER, sends: ['InitialR2T'] });
    open.propose('operational');
    assert.match(open.conclude() ?? '', /InitialR2T is not answered/);
  });
});

const number = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });
const digests = fc.constantFrom<Offer['headerDigest']>(
  ['None'],
  ['CRC32C'],
  ['CRC32C', 'None'],
  ['None', 'CRC32C'],
);
const reporting = fc.constantFrom<Offer['taskReporting']>(
  ['RFC3720'],
  ['ResponseFence', 'RFC3720'],
  ['FastAbort', 'RFC3720'],
);
const offerValues = fc.record<Omit<Offer, 'sends'>>({
  headerDigest: digests,
  dataDigest: digests,
  taskReporting: reporting,
  maxConnections: number(1, 65535),
  initialR2T: fc.boolean(),
  immediateData: fc.boolean(),
  initiatorMaxRecvDataSegmentLength: number(512, 2 ** 24 - 1),
  targetMaxRecvDataSegmentLength: number(512, 2 ** 24 - 1),
  maxBurstLength: number(512, 2 ** 24 - 1),
  firstBurstLength: number(512, 2 ** 24 - 1),
  defaultTime2Wait: number(0, 3600),
  defaultTime2Retain: number(0, 3600),
  maxOutstandingR2T: number(1, 65535),
  dataPDUInOrder: fc.boolean(),
  dataSequenceInOrder: fc.boolean(),
  errorRecoveryLevel: number(0, 2),
  iSCSIProtocolLevel: number(0, 31),
  rdmaExtensions: fc.boolean(),
  initiatorRecvDataSegmentLength: number(512, 2 ** 24 - 1),
  targetRecvDataSegmentLength: number(512, 2 ** 24 - 1),
  initiatorMaxOutstandingUnexpectedPDUs: number(2, 1000),
  targetMaxOutstandingUnexpectedPDUs: number(2, 1000),
  initiatorMaxAHSLength: number(2, 1000),
  targetMaxAHSLength: number(2, 1000),
  taggedBufferForSolicitedDataOnly: fc.boolean(),
  iSERHelloRequired: fc.boolean(),
});
const offers = fc
  .tuple(offerValues, fc.subarray(INITIATOR_OFFER.sends.slice()))
  .map(([values, sends]): Offer => ({ ...values, sends }));

/** Let both sides exchange texts until neither has anything to say. */
function exchange(left: Negotiation, right: Negotiation): void {
  for (let round = 0; round < 8; round++) {
    const request = left.propose('operational');
    const received = right.receive(request, 'operational');
    assert.ok('answers' in received, 'violation' in received ? received.violation : '');
    const response = [...received.answers, ...right.propose('operational')];
    const answered = left.receive(response, 'operational');
    assert.ok('answers' in answered, 'violation' in answered ? answered.violation : '');
    if (answered.answers.length > 0) {
      const last = right.receive(answered.answers, 'operational');
      assert.ok('answers' in last && last.answers.length === 0);
    }
    if (request.length === 0 && response.length === 0) return;
  }
  assert.fail('the negotiation does not end');
}

/** `b` is null when the other side may say anything. */
function assertWithin(rule: KeyRule, result: OperationalParameters, a: Offer, b: Offer | null): void {
  if (rule.kind !== 'number') return;
  const value = result[rule.parameter];
  assert.ok(value >= rule.min && value <= rule.max, `${rule.name}=${value}`);
  if (b === null && rule.result === 'maximum') {
    // The other side alone may raise it, up to what the standard allows.
    assert.ok(
      value >= Math.min(a[rule.parameter], DEFAULT_PARAMETERS[rule.parameter]),
      `${rule.name}=${value}`,
    );
    return;
  }
  const most = Math.max(a[rule.parameter], b?.[rule.parameter] ?? 0, DEFAULT_PARAMETERS[rule.parameter]);
  assert.ok(value <= most, `${rule.name}=${value} exceeds ${most}`);
}

test('whatever both sides offer, they agree, within the bounds of both', () => {
  fc.assert(
    fc.property(offers, offers, (ours, theirs) => {
      const left = initiator(ours);
      const right = target({
        offer: { ...theirs, sends: theirs.sends.filter((key) => key === 'MaxRecvDataSegmentLength') },
      });
      exchange(left, right);
      assert.equal(left.conclude(), null);
      const result = right.result();
      assert.deepEqual(left.result(), result);
      for (const rule of KEYS) assertWithin(rule, result, ours, theirs);
      assert.ok(result.firstBurstLength <= result.maxBurstLength);
      assert.ok(
        result.errorRecoveryLevel === 0 || !result.dataSequenceInOrder || result.maxOutstandingR2T === 1,
      );
      assert.ok(!result.rdmaExtensions || (ours.rdmaExtensions && theirs.rdmaExtensions));
    }),
    { numRuns: 300 },
  );
});

test('DefaultTime2Wait is the larger of both (RFC 7143 13.15), also in hexadecimal', () => {
  const negotiation = target();
  negotiation.receive([{ key: 'DefaultTime2Wait', value: '0x40' }], 'operational');
  assert.equal(negotiation.result().defaultTime2Wait, 64);
});

test('a target may propose too, and the initiator answers', () => {
  const both = ['MaxBurstLength', 'InitialR2T', 'MaxOutstandingR2T', 'HeaderDigest'];
  const left = initiator({ ...INITIATOR_OFFER, sends: [] });
  const right = target({ offer: { ...TARGET_OFFER, sends: both } });
  exchange(left, right);
  assert.equal(right.conclude(), null);
  assert.deepEqual(left.result(), right.result());
  assert.equal(left.result().maxBurstLength, 1048576);
  assert.equal(left.result().initialR2T, false);
});

test('arbitrary pairs never throw and are answered with keys that came', () => {
  const names = fc.oneof(
    fc.constantFrom(...KEYS.map(({ name }) => name)),
    fc.string({ minLength: 1, maxLength: 20 }),
  );
  const values = fc.oneof(
    fc.constantFrom(
      'Yes',
      'No',
      '0',
      '1',
      '512',
      '8192',
      'None',
      'CRC32C',
      'Reject',
      'Irrelevant',
      '',
      '1~2',
      '0x40',
    ),
    fc.string({ maxLength: 30 }),
  );
  const list = fc.array(fc.record({ key: names, value: values }), { maxLength: 12 });
  const stages = fc.constantFrom<Stage>('security', 'operational', 'fullFeature');
  fc.assert(
    fc.property(
      list,
      stages,
      fc.constantFrom('Normal' as const, 'Discovery' as const),
      (texts, stage, sessionType) => {
        const negotiation = target({ sessionType });
        const received = negotiation.receive(texts, stage);
        if ('violation' in received) return;
        const sent = new Set(texts.map(({ key }) => key));
        for (const { key } of received.answers) assert.ok(sent.has(key));
        const result = negotiation.result();
        for (const rule of KEYS) assertWithin(rule, result, TARGET_OFFER, null);
        assert.ok(result.initiatorMaxRecvDataSegmentLength >= 512);
      },
    ),
    { numRuns: 2000 },
  );
});
