/**
 * `npm run lab:broken`: shows that the scenarios can fail. Each takes a copy of the built Riser that is damaged
 * in one place, and must fail with a report that names the damage.
 *
 *     npm run lab:broken               all of them, one after the other
 *     npm run lab:broken -- io resize  those of some scenarios
 */

import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../test/support/files.js';
import { runProgram, runToSuccess } from '../test/support/run-program.js';

interface Damage {
  scenario: string;
  /** What is wrong with this Riser. */
  what: string;
  /** Below `dist`. */
  file: string;
  /** Text of the file, there once, and what takes its place. */
  from: string;
  to: string;
  /** What the report must say. */
  says: RegExp;
}

const ASTRAY = {
  file: 'block/thread-pool-io.js',
  from: 'fs.writev(this.#owner.fd, this.#remaining(), position,',
  to: 'fs.writev(this.#owner.fd, this.#remaining(), Math.random() < 0.02 ? position + 4096 : position,',
};
const LENT = 'data.add(this.#chunk(index)?.memory ?? ZEROES, ';
const OTHER_ORDER = {
  file: 'block/memory.js',
  from: `${LENT}start, part);`,
  to: `if (forWriting || part < 65536) ${LENT}start, part); else ${LENT}start + 4096, part - 4096), ${LENT}start, 4096);`,
};
const EVERYTHING_IS_EQUAL = { file: 'scsi/commands/compare.js', from: '=== 0)', to: '=== 0 || true)' };

const DAMAGES: readonly Damage[] = [
  {
    scenario: 'login',
    what: 'SendTargets tells another portal group',
    file: 'iscsi/target/discovery.js',
    from: ',${portalGroupTag}',
    to: ',7',
    says: /✖ discovery tells the target and its portal/,
  },
  {
    scenario: 'login',
    what: 'the digest of Data-In is wrong',
    file: 'datamover/tcp/digest.js',
    from: 'target.writeUInt32LE(crc, ',
    to: 'target.writeUInt32LE(crc ^ 1, ',
    says: /✖ file systems .* digests CRC32C/,
  },
  {
    scenario: 'login',
    what: 'a VPD page says that it is longer than it is',
    file: 'scsi/vital-product-data.js',
    from: 'putU16(header, 2, body.length)',
    to: 'putU16(header, 2, body.length + 40)',
    says: /✖ tshark finds no malformed packet[^]*frame \d+, SCSI/,
  },
  {
    scenario: 'chap',
    what: 'every response is right',
    file: 'iscsi/login/chap.js',
    from: 'a.length === b.length && timingSafeEqual(a, b)',
    to: 'a.length === b.length',
    says: /✖ MD5: the right secret opens a session, a wrong one does not/,
  },
  {
    scenario: 'initiator',
    what: 'a copy that is resumed leaves 64 KiB out',
    file: 'cli/transfer/copy-plan.js',
    from: 'from: resumed.position',
    to: 'from: resumed.position + 65536',
    says: /✖ copies that are interrupted at random/,
  },
  {
    scenario: 'restart',
    what: 'some writes go astray',
    ...ASTRAY,
    says: /verify: bad|Structure needs cleaning/,
  },
  {
    scenario: 'restart',
    what: 'a redirection leads to another port',
    file: 'target/redirect.js',
    from: 'targetAddress: formatPortal(host, port)',
    to: 'targetAddress: formatPortal(host, port ^ 1)',
    says: /✖ writes follow the target when it moves/,
  },
  {
    scenario: 'io',
    what: 'a large read takes its pages in another order',
    ...OTHER_ORDER,
    says: /✖ memory: write, blocks of 4m[^]*verify: bad/,
  },
  {
    scenario: 'commands',
    what: 'all blocks compare equal',
    ...EVERYTHING_IS_EQUAL,
    says: /✖ sg_compare_and_write[^]*✖ sg_verify/,
  },
  {
    scenario: 'sg3-utils',
    what: 'blocks that are written count twice',
    file: 'scsi/statistics.js',
    from: 'this.bytesReceived += task.transferLength',
    to: 'this.bytesReceived += 2 * task.transferLength',
    says: /✖ statistics count what is written and read/,
  },
  {
    scenario: 'multipath',
    what: 'SendTargets keeps the second portal to itself',
    file: 'iscsi/target/discovery.js',
    from: 'of target.portals)',
    to: 'of target.portals.slice(0, 1))',
    says: /✖ multipath[^]*ip-127\.0\.0\.3/,
  },
  {
    scenario: 'resize',
    what: 'the new size of an image goes unnoticed',
    file: 'block/file.js',
    from: 'if (size === this.#size)',
    to: 'if (size > 0)',
    says: /✖ ext4: the guest sees 640 MiB[^]*✖ xfs: the guest sees 640 MiB/,
  },
  {
    scenario: 'power-cut',
    what: 'some writes go astray',
    ...ASTRAY,
    says: /✖ after a new boot the file systems are clean/,
  },
  {
    scenario: 'guest-riser',
    what: 'a large read takes its pages in another order',
    ...OTHER_ORDER,
    says: /✖ what the guest's kernel writes, the host reads/,
  },
  {
    scenario: 'conformance',
    what: 'all blocks compare equal',
    ...EVERYTHING_IS_EQUAL,
    says: /✖ Riser passes the families[^]*\| CompareAndWrite\.Miscompare \| failed[^]*\| Verify16\.Mismatch \| failed/,
  },
  {
    scenario: 'siw',
    what: 'the end of the data is not written back',
    file: 'rdma/ping/server.js',
    from: 'const length = stringSize(data);',
    to: 'const length = stringSize(data) - 10;',
    says: /✖ rping -c with Riser as its server, 64 bytes[^]*data mismatch/,
  },
  {
    scenario: 'siw',
    what: 'the client advertises another key than its own',
    file: 'rdma/ping/advertisement.js',
    from: 'putU32(bytes, offset + REMOTE_KEY, advertisement.remoteKey);',
    to: 'putU32(bytes, offset + REMOTE_KEY, advertisement.remoteKey ^ 1);',
    says: /✖ riser rdma ping with rping -s as its server, 64 bytes/,
  },
  {
    scenario: 'iser',
    what: 'a reservation keeps nobody out',
    file: 'scsi/reservations.js',
    from: 'return this.holder !== nexus;',
    to: 'return false;',
    says: /✖ what one session reserves, the other may not write/,
  },
  {
    scenario: 'reservations',
    what: 'what is to outlive the server is not kept',
    file: 'scsi/persistent-reservation.js',
    from: 'this.#isStoreUsed ||= this.#persists;',
    to: '',
    says: /✖ all of it is there after the server was killed/,
  },
  {
    scenario: 'alua',
    what: 'REPORT TARGET PORT GROUPS tells that everything is active/optimized',
    file: 'scsi/commands/target-port-groups.js',
    from: 'descriptor[0] = (preferred ? PREF : 0) | state;',
    to: 'descriptor[0] = 0;',
    says: /✖ writes follow the active group, there and back/,
  },
  {
    scenario: 'third-party-copy',
    what: 'a copy begins a block too late',
    file: 'scsi/third-party-copy/copy-operation.js',
    from: 'move.destinationOffset);',
    to: 'move.destinationOffset + 512);',
    says: /✖ sg_xcopy --on_src/,
  },
  {
    scenario: 'cdrom',
    what: 'a locked tray opens',
    file: 'scsi/removable-medium.js',
    from: 'this.#preventing.size > 0 ||',
    to: '',
    says: /✖ a mounted disc is locked/,
  },
  {
    scenario: 'doctor',
    what: 'every device is taken for an adapter',
    file: 'cli/doctor/rdma-ports.js',
    from: "return 'rdma_rxe';",
    to: "return 'adapter';",
    says: /✖ rdma_rxe and siw: each with its kind/,
  },
  {
    scenario: 'perftest',
    what: 'both sides tell another key than their own',
    file: 'rdma/bench/wire.js',
    from: 'Field.remoteKey.set(bytes, destination.remoteKey)',
    to: 'Field.remoteKey.set(bytes, destination.remoteKey ^ 1)',
    says: /✖ ib_write_bw, 65536 bytes, without CRC: perftest is the client[^]*✖ ib_read_bw, 101 bytes, with CRC: perftest is the client/,
  },
  {
    scenario: 'native-siw',
    what: 'a limit of locked memory is taken for something else',
    file: 'rdma/native/memory.js',
    from: "name === 'ENOMEM' || name === 'EAGAIN'",
    to: "name === 'EAGAIN'",
    says: /✖ memory that may not be locked is told with its remedy/,
  },
];

/** Milliseconds; a scenario has its own limit below that. */
const LIMIT = 15 * 60_000;
const COPY = join(ROOT, '.cache/lab/broken');

process.chdir(ROOT);
await runToSuccess('npm', ['run', '--silent', 'build']);
const wanted = process.argv.slice(2);
for (const damage of DAMAGES.filter(({ scenario }) => wanted.length === 0 || wanted.includes(scenario))) {
  const name = `${damage.scenario}: ${damage.what}`;
  const complaint = await prove(damage);
  console.log(complaint === null ? `✔ noticed: ${name}` : `✖ ${name}: ${complaint}`);
  if (complaint !== null) process.exitCode = 1;
}

/** Run the scenario with the damage; null if it fails as it should. */
async function prove({ scenario, file, from, to, says }: Damage): Promise<string | null> {
  rmSync(COPY, { recursive: true, force: true });
  cpSync(join(ROOT, 'dist'), join(COPY, 'dist'), { recursive: true });
  cpSync(join(ROOT, 'prebuilds'), join(COPY, 'prebuilds'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(COPY, 'package.json'));
  const path = join(COPY, 'dist', file);
  const parts = readFileSync(path, 'utf8').split(from);
  if (parts.length !== 2) return `dist/${file} has ${parts.length - 1} times: ${from}`;
  writeFileSync(path, parts.join(to));

  const program = join(COPY, 'dist/cli/riser.cjs');
  const command = [
    `RISER_LAB_PROGRAM=${program}`,
    process.execPath,
    '--import',
    'tsx',
    'lab/run.ts',
    scenario,
  ];
  const { status, stdout, stderr } = await runProgram('env', command, LIMIT);
  rmSync(COPY, { recursive: true, force: true });
  if (status === 0) return 'the scenario passed';
  return says.test(stdout) ? null : `the report does not say ${String(says)}:\n${stdout}${stderr}`;
}
