/** The target's CHAP, in Login PDUs: what an initiator may send, and all that it may not. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { Secret } from '../../util/secret.js';
import { CHAP_ALGORITHMS, ChallengeSource, type ChapAlgorithmName, usableAlgorithms } from './chap.js';
import { ChapTarget } from './chap-target.js';
import { LoginStatus } from './status.js';
import { type LoginOutcome, LoginStage } from './target-login.js';
import {
  assertRefused,
  flagsOf,
  FULL_FEATURE,
  LoginUnderTest,
  NAMES,
  textOf,
  TO_OPERATIONAL,
} from './testing/initiator.js';

const SECRET = 'alice has a secret';
const TARGET_SECRET = 'the target has another';
const STAY = { stage: LoginStage.SECURITY };
const HASHES = { 5: 'md5', 6: 'sha1', 7: 'sha256', 8: 'sha3-256' } as const;

interface Setting {
  mutual?: boolean;
  algorithms?: readonly ChapAlgorithmName[];
  users?: [string, string][];
}

function login({ mutual = false, algorithms, users = [['alice', SECRET]] }: Setting = {}): LoginUnderTest {
  const challenges = new ChallengeSource();
  const options = {
    users: new Map(users.map(([name, secret]) => [name, new Secret(secret)])),
    mutual: mutual ? { name: 'riser', secret: new Secret(TARGET_SECRET) } : null,
    algorithms: usableAlgorithms(algorithms ?? CHAP_ALGORITHMS.map(({ name }) => name)),
    challenges,
  };
  return new LoginUnderTest({
    authenticator: { methods: () => ['CHAP'], begin: () => new ChapTarget(options) },
  });
}

type Asked = Record<'CHAP_A' | 'CHAP_I' | 'CHAP_C', string>;

/** Up to the target's challenge. */
function challenged(under: LoginUnderTest, offer = '5'): Asked {
  under.send(STAY, [...NAMES, 'AuthMethod=CHAP']);
  return Object.fromEntries(
    textOf(under.send(STAY, [`CHAP_A=${offer}`])).map((pair) => {
      const at = pair.indexOf('=');
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  ) as Asked;
}

/** The digest that answers a challenge, computed as RFC 1994 has it. */
function digest({ CHAP_A, CHAP_I, CHAP_C }: Asked, secret: string): Buffer {
  return createHash(HASHES[CHAP_A as unknown as keyof typeof HASHES])
    .update(
      Buffer.concat([Buffer.of(Number(CHAP_I)), Buffer.from(secret), Buffer.from(CHAP_C.slice(2), 'hex')]),
    )
    .digest();
}

const hex = (bytes: Buffer): string => `0x${bytes.toString('hex')}`;
const answer = (asked: Asked, secret = SECRET): string[] => [
  'CHAP_N=alice',
  `CHAP_R=${hex(digest(asked, secret))}`,
];

function send(texts: (asked: Asked) => readonly string[], setting?: Setting): LoginOutcome {
  const under = login(setting);
  return under.send(TO_OPERATIONAL, texts(challenged(under)));
}

describe('one-way', () => {
  for (const [number, hash] of Object.entries(HASHES)) {
    test(`the right secret with ${hash}`, () => {
      const under = login();
      const asked = challenged(under, number);
      assert.equal(asked.CHAP_A, number);
      assert.match(asked.CHAP_I, /^\d{1,3}$/);
      assert.match(asked.CHAP_C, /^0x[0-9a-f]{64}$/);
      const accepted = under.send(TO_OPERATIONAL, answer(asked));
      assert.deepEqual(textOf(accepted), []);
      assert.equal(flagsOf(accepted).transit, LoginStage.OPERATIONAL);
      assert.equal(under.send(FULL_FEATURE, []).result?.user, 'alice');
    });
  }

  test('the response may be in base64', () => {
    const outcome = send((asked) => ['CHAP_N=alice', `CHAP_R=0b${digest(asked, SECRET).toString('base64')}`]);
    assert.equal(flagsOf(outcome).transit, LoginStage.OPERATIONAL);
  });

  test('a wrong secret, and a user that does not exist, get the same answer', () => {
    const wrong = send((asked) => answer(asked, 'a wrong secret'));
    assertRefused(wrong, LoginStatus.AUTHENTICATION_FAILURE, /wrong response of user "alice"/);
    const nobody = send((asked) => ['CHAP_N=bob', answer(asked)[1]!]);
    assertRefused(nobody, LoginStatus.AUTHENTICATION_FAILURE, /no user "bob"/);
    assert.deepEqual(nobody.response, wrong.response);
  });

  test("another user's secret is wrong", () => {
    const users: [string, string][] = [
      ['alice', SECRET],
      ['bob', 'bob has a secret too'],
    ];
    const outcome = send((asked) => ['CHAP_N=bob', answer(asked)[1]!], { users });
    assertRefused(outcome, LoginStatus.AUTHENTICATION_FAILURE, /wrong response of user "bob"/);
  });

  test('a response of another length is wrong', () => {
    for (const cut of [1, 15]) {
      const outcome = send((asked) => [
        'CHAP_N=alice',
        `CHAP_R=${hex(digest(asked, SECRET).subarray(0, cut))}`,
      ]);
      assertRefused(outcome, LoginStatus.AUTHENTICATION_FAILURE, /wrong response/);
    }
    const long = send((asked) => [
      'CHAP_N=alice',
      `CHAP_R=${hex(Buffer.concat([digest(asked, SECRET), Buffer.alloc(1)]))}`,
    ]);
    assertRefused(long, LoginStatus.AUTHENTICATION_FAILURE, /wrong response/);
  });

  test('each login has a challenge of its own', () => {
    const first = challenged(login());
    assertRefused(
      send(() => answer(first)),
      LoginStatus.AUTHENTICATION_FAILURE,
      /wrong response/,
    );
  });
});

describe('the algorithm', () => {
  test("is the first of the initiator's list that is allowed", () => {
    assert.equal(challenged(login(), '99,6,8').CHAP_A, '6');
    assert.equal(challenged(login({ algorithms: ['SHA256', 'MD5'] }), '8,6,5,7').CHAP_A, '5');
    assert.equal(challenged(login(), '0x8').CHAP_A, '8');
  });

  test('no common one is a failure', () => {
    for (const [offer, algorithms] of [
      ['5', ['SHA256']],
      ['1,2,9', ['MD5']],
    ] as const) {
      const under = login({ algorithms });
      under.send(STAY, [...NAMES, 'AuthMethod=CHAP']);
      assertRefused(
        under.send(STAY, [`CHAP_A=${offer}`]),
        LoginStatus.AUTHENTICATION_FAILURE,
        /accepted are [57]$/,
      );
    }
  });
});

describe('mutual', () => {
  const MINE = { CHAP_I: '17', CHAP_C: '0x00112233445566778899aabbccddeeff' };
  const challenge = [`CHAP_I=${MINE.CHAP_I}`, `CHAP_C=${MINE.CHAP_C}`];

  for (const [number, hash] of Object.entries(HASHES)) {
    test(`the target proves itself with ${hash}`, () => {
      const under = login({ mutual: true });
      const accepted = under.send(TO_OPERATIONAL, [...answer(challenged(under, number)), ...challenge]);
      const proof = digest({ ...MINE, CHAP_A: number }, TARGET_SECRET);
      assert.deepEqual(textOf(accepted), ['CHAP_N=riser', `CHAP_R=${hex(proof)}`]);
      assert.equal(flagsOf(accepted).transit, LoginStage.OPERATIONAL);
    });
  }

  test('need not be asked for', () => {
    assert.deepEqual(textOf(send(answer, { mutual: true })), []);
  });

  test('is a failure where the target has no secret, and only after the initiator has proved itself', () => {
    const refused = send((asked) => [...answer(asked), ...challenge]);
    assertRefused(refused, LoginStatus.AUTHENTICATION_FAILURE, /asks the target for a proof/);
    const wrong = send((asked) => [...answer(asked, 'a wrong secret'), ...challenge], { mutual: true });
    assertRefused(wrong, LoginStatus.AUTHENTICATION_FAILURE, /wrong response/);
    assert.deepEqual(textOf(wrong), []);
  });

  test('a challenge that is reflected is refused, in whatever digits, and on another connection', () => {
    for (const form of ['hex', 'base64'] as const) {
      const outcome = send(
        (asked) => {
          const bytes = Buffer.from(asked.CHAP_C.slice(2), 'hex');
          const text =
            form === 'hex' ? `0X${bytes.toString('hex').toUpperCase()}` : `0b${bytes.toString('base64')}`;
          return [...answer(asked), 'CHAP_I=1', `CHAP_C=${text}`];
        },
        { mutual: true },
      );
      assertRefused(outcome, LoginStatus.AUTHENTICATION_FAILURE, /our own challenge came back/);
    }
    const challenges = new ChallengeSource();
    const options = {
      users: new Map([['alice', new Secret(SECRET)]]),
      mutual: { name: 'riser', secret: new Secret(TARGET_SECRET) },
      algorithms: usableAlgorithms(['MD5']),
      challenges,
    };
    const authenticator = { methods: () => ['CHAP'], begin: () => new ChapTarget(options) };
    const other = challenged(new LoginUnderTest({ authenticator }));
    const under = new LoginUnderTest({ authenticator });
    const asked = challenged(under);
    const outcome = under.send(TO_OPERATIONAL, [...answer(asked), 'CHAP_I=1', `CHAP_C=${other.CHAP_C}`]);
    assertRefused(outcome, LoginStatus.AUTHENTICATION_FAILURE, /our own challenge came back/);
  });

  test('a reflection without a response of its own gets nothing (RFC 7143 9.2)', () => {
    const outcome = send((asked) => ['CHAP_N=alice', `CHAP_I=${asked.CHAP_I}`, `CHAP_C=${asked.CHAP_C}`], {
      mutual: true,
    });
    assertRefused(outcome, LoginStatus.MISSING_PARAMETER, /CHAP_R is missing/);
    assert.deepEqual(textOf(outcome), []);
  });

  test("a user with the target's own secret is refused, though it is configured so", () => {
    const users: [string, string][] = [['alice', TARGET_SECRET]];
    const outcome = send((asked) => answer(asked, TARGET_SECRET), { mutual: true, users });
    assertRefused(outcome, LoginStatus.AUTHENTICATION_FAILURE, /has the target's secret/);
  });
});

describe('keys that the step does not have', () => {
  const { INITIATOR_ERROR, MISSING_PARAMETER } = LoginStatus;
  const LONG = 'f'.repeat(2050);

  const first: [string, string[], LoginStatus, RegExp][] = [
    ['nothing', [], MISSING_PARAMETER, /CHAP_A is missing/],
    ['a list that is none', ['CHAP_A='], INITIATOR_ERROR, /CHAP_A=""/],
    ['an algorithm by name', ['CHAP_A=MD5'], INITIATOR_ERROR, /CHAP_A="MD5"/],
    [
      'a response before the challenge',
      ['CHAP_N=alice', 'CHAP_R=0x00'],
      INITIATOR_ERROR,
      /CHAP_N is not due/,
    ],
    ['a challenge first', ['CHAP_A=5', 'CHAP_I=1', 'CHAP_C=0x00'], INITIATOR_ERROR, /CHAP_I is not due/],
    ['a key of another method', ['CHAP_A=5', 'SRP_U=alice'], INITIATOR_ERROR, /SRP_U is not due/],
    ['a key of no method', ['CHAP_X=1'], INITIATOR_ERROR, /CHAP_X is not due/],
  ];
  for (const [what, texts, status, reason] of first) {
    test(`instead of CHAP_A: ${what}`, () => {
      const under = login({ mutual: true });
      under.send(STAY, [...NAMES, 'AuthMethod=CHAP']);
      assertRefused(under.send(STAY, texts), status, reason);
    });
  }

  const second: [string, string[], LoginStatus, RegExp][] = [
    ['nothing', [], MISSING_PARAMETER, /CHAP_N is missing/],
    ['no response', ['CHAP_N=alice'], MISSING_PARAMETER, /CHAP_R is missing/],
    ['no name', ['CHAP_R=0x00'], MISSING_PARAMETER, /CHAP_N is missing/],
    ['an empty name', ['CHAP_N=', 'CHAP_R=0x00'], INITIATOR_ERROR, /CHAP_N=""/],
    ['a long name', [`CHAP_N=${'é'.repeat(128)}`, 'CHAP_R=0x00'], INITIATOR_ERROR, /CHAP_N=/],
    ['the list again', ['CHAP_A=5'], INITIATOR_ERROR, /CHAP_A is not due/],
    ['a decimal response', ['CHAP_N=alice', 'CHAP_R=12'], INITIATOR_ERROR, /CHAP_R is no binary/],
    ['a long response', ['CHAP_N=alice', `CHAP_R=0x${LONG}`], INITIATOR_ERROR, /CHAP_R is no binary/],
    [
      'half a challenge',
      ['CHAP_N=alice', 'CHAP_R=0x00', 'CHAP_C=0x01'],
      MISSING_PARAMETER,
      /CHAP_I is missing/,
    ],
    ['the other half', ['CHAP_N=alice', 'CHAP_R=0x00', 'CHAP_I=1'], MISSING_PARAMETER, /CHAP_C is missing/],
    [
      'a large identifier',
      ['CHAP_N=alice', 'CHAP_R=0x00', 'CHAP_I=256', 'CHAP_C=0x01'],
      INITIATOR_ERROR,
      /CHAP_I="256"/,
    ],
    [
      'an empty challenge',
      ['CHAP_N=alice', 'CHAP_R=0x00', 'CHAP_I=1', 'CHAP_C=0x'],
      INITIATOR_ERROR,
      /CHAP_C="0x"/,
    ],
    [
      'a long challenge',
      ['CHAP_N=alice', 'CHAP_R=0x00', 'CHAP_I=1', `CHAP_C=0x${LONG}`],
      INITIATOR_ERROR,
      /CHAP_C="0xfff/,
    ],
  ];
  for (const [what, texts, status, reason] of second) {
    test(`instead of a response: ${what}`, () => {
      assertRefused(
        send(() => texts, { mutual: true }),
        status,
        reason,
      );
    });
  }

  test('no secret is in any reason', () => {
    for (const texts of [
      ['CHAP_N=alice', `CHAP_R=${SECRET}`],
      ['CHAP_N=alice', 'CHAP_R=0x00'],
    ]) {
      assert.ok(!send(() => texts, { mutual: true }).reason.includes(SECRET));
    }
  });
});
