/**
 * Logins as initiators in the field send them, and what Riser answers. libiscsi 1.19 and QEMU as seen on the
 * wire, open-iscsi after its sources; Windows from memory, not from a capture.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LoginStage } from './target-login.js';
import { FULL_FEATURE, LoginUnderTest, TARGET_NAME, textOf, TO_OPERATIONAL } from './testing/initiator.js';
import { DISCOVERY_SESSION, normalSession } from './testing/open-iscsi.js';

const GREETING = ['TargetPortalGroupTag=1', 'TargetAlias=Disk one'];
const OWN = 'MaxRecvDataSegmentLength=262144';

/** The operational keys of libiscsi and, through it, of QEMU. */
const LIBISCSI_OPERATIONAL = [
  'HeaderDigest=None,CRC32C',
  'DataDigest=None',
  'InitialR2T=No',
  'ImmediateData=Yes',
  'MaxBurstLength=262144',
  'FirstBurstLength=262144',
  'DefaultTime2Wait=2',
  'DefaultTime2Retain=0',
  'MaxOutstandingR2T=1',
  'ErrorRecoveryLevel=0',
  'IFMarker=No',
  'OFMarker=No',
  'MaxConnections=1',
  'MaxRecvDataSegmentLength=262144',
  'DataPDUInOrder=Yes',
  'DataSequenceInOrder=Yes',
];
const LIBISCSI_ANSWER = [
  'HeaderDigest=None',
  'DataDigest=None',
  'InitialR2T=No',
  'ImmediateData=Yes',
  'MaxBurstLength=262144',
  'FirstBurstLength=262144',
  'DefaultTime2Wait=2',
  'DefaultTime2Retain=0',
  'MaxOutstandingR2T=1',
  'ErrorRecoveryLevel=0',
  'IFMarker=Reject',
  'OFMarker=Reject',
  'MaxConnections=1',
  'DataPDUInOrder=Yes',
  'DataSequenceInOrder=Yes',
  OWN,
];

describe('libiscsi', () => {
  const names = [
    'InitiatorName=iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test',
    `TargetName=${TARGET_NAME}`,
    'SessionType=Normal',
  ];

  test('without a user: one request', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, [...names, ...LIBISCSI_OPERATIONAL]);
    assert.deepEqual(textOf(outcome), [...GREETING, ...LIBISCSI_ANSWER]);
    const parameters = outcome.result?.parameters;
    assert.equal(parameters?.initialR2T, false);
    assert.equal(parameters.firstBurstLength, 262144);
    assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 262144);
    assert.equal(parameters.headerDigest, false);
  });

  test('with a user that the target does not ask for: it repeats its names in the second stage', () => {
    const login = new LoginUnderTest();
    const security = login.send(TO_OPERATIONAL, [...names, 'AuthMethod=CHAP,None']);
    assert.deepEqual(textOf(security), [...GREETING, 'AuthMethod=None']);
    const operational = login.send(FULL_FEATURE, [...names, ...LIBISCSI_OPERATIONAL]);
    assert.deepEqual(textOf(operational), LIBISCSI_ANSWER);
    assert.ok(operational.result !== null);
  });

  test('discovery: it sends all keys there too', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, [
      names[0]!,
      'SessionType=Discovery',
      ...LIBISCSI_OPERATIONAL,
    ]);
    assert.equal(outcome.result?.identity.sessionType, 'Discovery');
    assert.ok(textOf(outcome).includes('MaxBurstLength=Irrelevant'));
    assert.ok(!textOf(outcome).some((text) => text.startsWith('TargetPortalGroupTag')));
  });
});

test('QEMU: the name of the guest in the initiator name', () => {
  const outcome = new LoginUnderTest().send(FULL_FEATURE, [
    'InitiatorName=iqn.2008-11.org.linux-kvm:My Guest',
    `TargetName=${TARGET_NAME}`,
    'SessionType=Normal',
    ...LIBISCSI_OPERATIONAL,
  ]);
  assert.equal(outcome.result?.identity.initiatorName, 'iqn.2008-11.org.linux-kvm:my guest');
});

describe('open-iscsi', () => {
  const names = ['InitiatorName=iqn.1993-08.org.debian:01:9c83a4b1f2d', 'InitiatorAlias=host'];

  test('a normal session, both stages', () => {
    const login = new LoginUnderTest();
    const security = login.send(TO_OPERATIONAL, [
      ...names,
      `TargetName=${TARGET_NAME}`,
      'SessionType=Normal',
      'AuthMethod=None',
    ]);
    assert.deepEqual(textOf(security), [...GREETING, 'AuthMethod=None']);
    const operational = login.send(
      FULL_FEATURE,
      normalSession('None,CRC32C', 'MaxRecvDataSegmentLength=262144'),
    );
    assert.deepEqual(textOf(operational), [
      'HeaderDigest=None',
      'DataDigest=None',
      'DefaultTime2Wait=2',
      'DefaultTime2Retain=0',
      'IFMarker=Reject',
      'OFMarker=Reject',
      'ErrorRecoveryLevel=0',
      'InitialR2T=No',
      'ImmediateData=Yes',
      'MaxBurstLength=1048576',
      'FirstBurstLength=262144',
      'MaxOutstandingR2T=1',
      'MaxConnections=1',
      'DataPDUInOrder=Yes',
      'DataSequenceInOrder=Yes',
      OWN,
    ]);
    assert.equal(operational.result?.initiatorAlias, 'host');
  });

  test('discovery', () => {
    const login = new LoginUnderTest();
    login.send(TO_OPERATIONAL, [...names, 'SessionType=Discovery', 'AuthMethod=None']);
    const operational = login.send(FULL_FEATURE, DISCOVERY_SESSION);
    assert.deepEqual(textOf(operational), [
      'HeaderDigest=None',
      'DataDigest=None',
      'DefaultTime2Wait=2',
      'DefaultTime2Retain=0',
      'IFMarker=Reject',
      'OFMarker=Reject',
      'ErrorRecoveryLevel=0',
      OWN,
    ]);
    assert.equal(operational.result?.parameters.initiatorMaxRecvDataSegmentLength, 32768);
  });

  test('over iSER it asks for RDMAExtensions and is told No on TCP', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, [
      ...names,
      `TargetName=${TARGET_NAME}`,
      'InitiatorRecvDataSegmentLength=262144',
      'TargetRecvDataSegmentLength=8192',
      'RDMAExtensions=Yes',
    ]);
    assert.deepEqual(textOf(outcome), [
      ...GREETING,
      'InitiatorRecvDataSegmentLength=Irrelevant',
      'TargetRecvDataSegmentLength=Irrelevant',
      'RDMAExtensions=No',
      OWN,
    ]);
  });
});

test('Windows: a stage of its own for security, recovery and many connections asked for', () => {
  const login = new LoginUnderTest();
  const security = login.send(TO_OPERATIONAL, [
    'InitiatorName=iqn.1991-05.com.microsoft:win-host',
    'SessionType=Normal',
    `TargetName=${TARGET_NAME}`,
    'AuthMethod=None',
  ]);
  assert.deepEqual(textOf(security), [...GREETING, 'AuthMethod=None']);
  const operational = login.send({ stage: LoginStage.OPERATIONAL, transit: LoginStage.FULL_FEATURE }, [
    'HeaderDigest=None,CRC32C',
    'DataDigest=None,CRC32C',
    'ErrorRecoveryLevel=2',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxRecvDataSegmentLength=65536',
    'MaxBurstLength=262144',
    'FirstBurstLength=65536',
    'MaxConnections=32',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
    'DefaultTime2Wait=0',
    'DefaultTime2Retain=60',
    'MaxOutstandingR2T=16',
  ]);
  assert.deepEqual(textOf(operational), [
    'HeaderDigest=None',
    'DataDigest=None',
    'ErrorRecoveryLevel=0',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxBurstLength=262144',
    'FirstBurstLength=65536',
    'MaxConnections=1',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
    'DefaultTime2Wait=2',
    'DefaultTime2Retain=0',
    'MaxOutstandingR2T=16',
    OWN,
  ]);
});
