import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Secret } from '../../util/secret.js';
import {
  CHAP_ALGORITHMS,
  type ChapAlgorithmName,
  CHALLENGE_LENGTH,
  ChallengeSource,
  chapResponse,
  parseAlgorithms,
  parseIdentifier,
  usableAlgorithms,
} from './chap.js';

const algorithm = (name: ChapAlgorithmName) => CHAP_ALGORITHMS.find((each) => each.name === name)!;

describe('responses', () => {
  // `printf '\x27abcdefghijklmnop\x00\x01...\x0f' | openssl dgst -md5`, and so on.
  const vectors: [ChapAlgorithmName, number, string][] = [
    ['MD5', 5, 'e3b0d404485ca98c9797a4536c8f3535'],
    ['SHA1', 6, 'd6f3191507f93ed6988f9026023172e1c078af2d'],
    ['SHA256', 7, 'ab42eb42c16ee73109ef272b4cf720022535413b810ba97ff2871904ff3ed258'],
    ['SHA3-256', 8, 'ea26b635f74277b45ce26cc63952ab71880f8af45a1cc92fdfaf4d6f143df5a4'],
  ];
  for (const [name, number, digest] of vectors) {
    test(`of ${name}, whose number is ${number}`, () => {
      const challenge = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
      const response = chapResponse(algorithm(name), 0x27, new Secret('abcdefghijklmnop'), challenge);
      assert.equal(response.toString('hex'), digest);
      assert.equal(response.length, algorithm(name).length);
      assert.equal(algorithm(name).number, number);
    });
  }

  test('only algorithms that exist can be asked for, in the order asked', () => {
    assert.deepEqual(
      usableAlgorithms(['MD5', 'SHA256']).map(({ number }) => number),
      [5, 7],
    );
    assert.deepEqual(usableAlgorithms([]), []);
  });
});

describe('values', () => {
  test('CHAP_A is a list of numbers', () => {
    assert.deepEqual(parseAlgorithms('5'), [5]);
    assert.deepEqual(parseAlgorithms('8,0x7,5'), [8, 7, 5]);
    for (const text of ['', '5,', ',5', 'MD5', '5, 7', '5;7', '-5'])
      assert.equal(parseAlgorithms(text), null, text);
  });

  test('CHAP_I is one byte', () => {
    assert.equal(parseIdentifier('0'), 0);
    assert.equal(parseIdentifier('255'), 255);
    assert.equal(parseIdentifier('0xfF'), 255);
    for (const text of ['256', '-1', '', 'x', '0b0', '1.0']) assert.equal(parseIdentifier(text), null, text);
  });
});

describe('challenges', () => {
  test('are long, differ, and are known again', () => {
    const source = new ChallengeSource();
    const made = Array.from({ length: 100 }, () => source.make());
    assert.equal(new Set(made.map(({ bytes }) => bytes.toString('hex'))).size, 100);
    assert.ok(new Set(made.map(({ identifier }) => identifier)).size > 10);
    for (const { bytes, identifier } of made) {
      assert.equal(bytes.length, CHALLENGE_LENGTH);
      assert.ok(identifier >= 0 && identifier <= 255);
      assert.ok(source.made(Buffer.from(bytes)));
    }
    assert.ok(!source.made(new ChallengeSource().make().bytes));
    assert.ok(!source.made(Buffer.alloc(0)));
  });

  test('the latest thousand are remembered, and older ones forgotten', () => {
    const source = new ChallengeSource();
    const first = source.make().bytes;
    for (let i = 0; i < 1024; i++) source.make();
    assert.ok(source.made(first));
    for (let i = 0; i < 1024; i++) source.make();
    assert.ok(!source.made(first));
  });
});
