import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { kernelFaults, kernelPanic } from './kernel-log.js';

describe('kernel log', () => {
  test('errors of disks, file systems and the kernel itself are faults', () => {
    const faults = [
      '[   34.8] I/O error, dev sda, sector 16968 op 0x0:(READ) flags 0x7200 phys_seg 1 prio class 2',
      '[   34.9] Buffer I/O error on dev dm-0, logical block 0, lost async page write',
      '[   40.1] critical target error, dev sda, sector 0 op 0x1:(WRITE)',
      '[   41.0] EXT4-fs error (device sda): ext4_find_entry:1463: inode #2: comm ls: reading directory lblock 0',
      '[   42.0] XFS (sdb): log I/O error -5',
      '[   43.0] XFS (sdb): Metadata corruption detected at xfs_agf_verify',
      '[   44.0] sd 0:0:0:0: [sda] tag#24 FAILED Result: hostbyte=DID_TRANSPORT_DISRUPTED driverbyte=DRIVER_OK',
      '[  363.0] INFO: task fio:512 blocked for more than 120 seconds.',
      '[  400.0] BUG: kernel NULL pointer dereference, address: 0000000000000008',
    ];
    assert.deepEqual(kernelFaults(faults.join('\n')), faults);
  });

  test('a warning is told whole, with its reason and its callers', () => {
    const warning = [
      '[   83.5] ------------[ cut here ]------------',
      '[   83.5] workqueue: WQ_MEM_RECLAIM one:work is flushing !WQ_MEM_RECLAIM events:other',
      '[   83.5] WARNING: CPU: 0 PID: 31 at kernel/workqueue.c:2635 check_flush_dependency.part.0+0xb4/0x100',
      '[   83.5] Call Trace:',
      '[   83.5] ---[ end trace 0000000000000000 ]---',
    ];
    assert.deepEqual(kernelFaults(['good', ...warning, 'good'].join('\n')), warning);
  });

  test('a command that failed is told with its CDB', () => {
    const failed =
      '[   89.7] sd 1:0:0:0: [sdb] tag#101 FAILED Result: hostbyte=DID_OK driverbyte=DRIVER_OK cmd_age=0s';
    const log = [failed, 'between', '[   89.8] sd 1:0:0:0: [sdb] tag#101 CDB: Reserve(6) 16 00 00 00 00 00'];
    assert.deepEqual(kernelFaults(log.join('\n')), [`${failed} CDB: Reserve(6) 16 00 00 00 00 00`]);
    assert.deepEqual(kernelFaults(failed), [failed]);
  });

  test('what happens in good times is not', () => {
    const good = [
      '[   13.4] sd 0:0:0:0: [sda] 1048576 512-byte logical blocks: (537 MB/512 MiB)',
      '[   23.0] EXT4-fs (dm-0): mounted filesystem with ordered data mode. Quota mode: none.',
      '[   24.0] XFS (sdb): Ending clean mount',
      '[   29.6]  connection1:0: detected conn error (1020)',
    ];
    assert.deepEqual(kernelFaults(good.join('\n')), []);
  });

  test('a panic is told from its first sign on', () => {
    const console = 'booting\nBUG: kernel NULL pointer dereference\nOops: 0002\nKernel panic - not syncing\n';
    assert.match(kernelPanic(console), /^BUG: kernel NULL/);
    assert.equal(kernelPanic('booting\nready\n'), '');
  });
});
