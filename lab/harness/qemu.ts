/** The QEMU process under a guest: user-mode networking, software emulation, no privileges. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../../test/support/files.js';
import { guestFolder } from '../guest-image.js';

export interface Hardware {
  /** Network cards: the host's 127.0.0.2 is behind the first, its 127.0.0.3 behind the second. */
  links: 1 | 2;
  /** Processors of the guest. */
  processors: number;
  /** Bytes of memory, in MiB. */
  memory: number;
  /** Whether every packet of every card is written to `ethN.pcap` of the folder. */
  capture: boolean;
  /** Ports of the guest that the host reaches, each as [port on the host's 127.0.0.1, port of the guest]. */
  forward: readonly (readonly [host: number, guest: number])[];
}

/** In front of a command: the kernel kills it when this process ends, in whatever way. */
export const END_WITH_THIS_PROCESS: readonly string[] = ['setpriv', '--pdeathsig', 'KILL'];

/** QEMU with its guest; `folder` is /lab in the guest, `sockets` a folder with a short path. */
export class Qemu {
  readonly #process: ChildProcess;
  readonly #exit: Promise<unknown>;
  /** What the guest wrote to its console, and QEMU to its standard error. */
  console = '';

  constructor(folder: string, sockets: string, hardware: Hardware) {
    const [command, ...rest] = [...END_WITH_THIS_PROCESS, 'qemu-system-x86_64'];
    this.#process = spawn(command, [...rest, ...qemuArguments(folder, sockets, hardware)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.#process, 'close');
    const log = createWriteStream(join(folder, 'console.log'), { flags: 'a' });
    const take = (chunk: Buffer): void => {
      this.console += chunk.toString('latin1');
      log.write(chunk);
    };
    this.#process.stdout!.on('data', take);
    this.#process.stderr!.on('data', take);
    void this.#exit.then(() => log.end());
  }

  /** Resolves when the process has ended. */
  async exited(): Promise<void> {
    await this.#exit;
  }

  /** Take the power away. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#exit;
  }
}

function qemuArguments(
  folder: string,
  sockets: string,
  { links, processors, memory, capture, forward }: Hardware,
): string[] {
  const guest = guestFolder();
  const args = [
    ...['-accel', 'tcg,thread=multi', '-machine', 'q35'],
    // tgt's iSER takes huge pages of 2 MiB; with pages of 1 GiB the kernel would give it none.
    // And `rep movs` of QEMU is slow: without erms the kernel copies by other means.
    ...['-cpu', 'max,pdpe1gb=off,erms=off', '-smp', String(processors), '-m', String(memory)],
    ...['-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ...['-kernel', join(guest, 'vmlinux'), '-initrd', join(guest, 'initrd.gz')],
    ...['-append', 'console=ttyS0 quiet panic=-1 oops=panic net.ifnames=0 mitigations=off'],
    ...['-drive', `file=${join(guest, 'root.sqfs')},if=virtio,format=raw,readonly=on`],
    ...['-virtfs', `local,path=${folder},mount_tag=lab,security_model=none`],
    ...['-virtfs', `local,path=${ROOT},mount_tag=riser,security_model=none,readonly=on`],
    ...['-chardev', `socket,id=agent,path=${join(sockets, 'agent')},server=on,wait=off`],
    ...['-device', 'virtio-serial', '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ...['-qmp', `unix:${join(sockets, 'monitor')},server=on,wait=off`],
  ];
  for (let link = 0; link < links; link += 1) {
    const forwards = link > 0 ? [] : forward.map(([host, port]) => `,hostfwd=tcp:127.0.0.1:${host}-:${port}`);
    args.push('-netdev', `user,id=eth${link},net=10.0.${2 + link}.0/24${forwards.join('')}`);
    args.push('-device', `virtio-net-pci,id=card${link},netdev=eth${link},mac=52:54:00:00:00:0${link}`);
    if (capture)
      args.push(
        '-object',
        `filter-dump,id=dump${link},netdev=eth${link},file=${join(folder, `eth${link}.pcap`)}`,
      );
  }
  return args;
}
