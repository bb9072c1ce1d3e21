import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FullFeatureKeys } from './full-feature-keys.js';
import { DEFAULT_PARAMETERS, type OperationalParameters } from './keys.js';
import type { TextPair } from '../wire/text.js';

const pair = (key: string, value: string): TextPair => ({ key, value });

/** A negotiation of one request. */
function answerFullFeatureText(
  pairs: readonly TextPair[],
  parameters: OperationalParameters,
  isDiscovery: boolean,
): readonly TextPair[] | null {
  const keys = new FullFeatureKeys(parameters, isDiscovery);
  const answers = keys.answer(pairs);
  if (answers !== null) keys.conclude();
  return answers;
}

test('MaxRecvDataSegmentLength takes effect, unknown keys are not understood', () => {
  const parameters = { ...DEFAULT_PARAMETERS, maxBurstLength: 4096, firstBurstLength: 4096 };
  const answers = answerFullFeatureText(
    [pair('MaxRecvDataSegmentLength', '65536'), pair('X-com.example.a', '1'), pair('InitiatorAlias', 'host')],
    parameters,
    false,
  );
  assert.deepEqual(answers, [pair('X-com.example.a', 'NotUnderstood')]);
  assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 65536);
  assert.equal(parameters.maxBurstLength, 4096);
});

test('a request that breaks a rule changes nothing', () => {
  const broken = [
    [pair('MaxRecvDataSegmentLength', '65536'), pair('MaxBurstLength', '4096')],
    [pair('MaxRecvDataSegmentLength', '65536'), pair('MaxRecvDataSegmentLength', '4096')],
    [pair('MaxRecvDataSegmentLength', '1')],
    [pair('AuthMethod', 'None')],
    [pair('TargetName', 'iqn.2001-04.com.example')],
  ];
  for (const pairs of broken) {
    const parameters = { ...DEFAULT_PARAMETERS };
    assert.equal(answerFullFeatureText(pairs, parameters, false), null);
    assert.deepEqual(parameters, DEFAULT_PARAMETERS);
  }
});

test('over iSER MaxRecvDataSegmentLength is ignored (RFC 7145 6.2)', () => {
  const parameters = { ...DEFAULT_PARAMETERS, rdmaExtensions: true, initiatorMaxRecvDataSegmentLength: 128 };
  assert.deepEqual(answerFullFeatureText([pair('MaxRecvDataSegmentLength', '65536')], parameters, false), []);
  assert.equal(parameters.initiatorMaxRecvDataSegmentLength, 128);
});

test('a discovery session negotiates nothing (RFC 7143 4.3)', () => {
  assert.equal(
    answerFullFeatureText([pair('MaxRecvDataSegmentLength', '65536')], { ...DEFAULT_PARAMETERS }, true),
    null,
  );
  assert.deepEqual(answerFullFeatureText([], { ...DEFAULT_PARAMETERS }, true), []);
});
