/** What in a kernel's log tells that something went wrong. */

/** An I/O error that reached a file system or a program, or a fault of the kernel itself. */
const FAULTS: readonly RegExp[] = [
  /I\/O error/,
  /critical (medium|target|space allocation) error/,
  /(EXT4-fs|JBD2).*(error|abort)/i,
  /XFS .*(error|corrupt|shut(ting)? ?down)/i,
  /FAILED Result: hostbyte/,
  /blocked for more than \d+ seconds/,
  /soft lockup|rcu.*detected stalls|BUG:|Oops|Kernel panic|general protection fault/,
];

/** The kernel frames a warning of its own, which tells its reason before the line that begins with WARNING, and the callers after. */
const WARNING_BEGINS = /-+\[ cut here \]-+/;
const WARNING_ENDS = '---[ end trace ';

/** A SCSI command that failed is told in two lines: the second has the same tag, and the CDB. */
const FAILED_COMMAND = /(\[sd\w+\] tag#\d+) FAILED Result/;

/** The lines of `log` that tell a fault, in order; of a warning all, and the CDB of a failed command in the same line. */
export function kernelFaults(log: string): string[] {
  let inWarning = false;
  const lines = log.split('\n');
  return lines.flatMap((line, index) => {
    const isOfWarning = inWarning || WARNING_BEGINS.test(line);
    inWarning = isOfWarning && !line.includes(WARNING_ENDS);
    if (!isOfWarning && !FAULTS.some((fault) => fault.test(line))) return [];
    const tag = FAILED_COMMAND.exec(line)?.[1];
    const cdb =
      tag === undefined ? undefined : lines.slice(index).find((one) => one.includes(`${tag} CDB: `));
    return cdb === undefined ? [line] : [line + cdb.slice(cdb.indexOf(' CDB: '))];
  });
}

/** What a kernel said when it died, from the first sign on; empty if it did not. */
export function kernelPanic(console: string): string {
  const lines = console.split('\n');
  const first = lines.findIndex((line) => /BUG:|Oops|Kernel panic|general protection fault/.test(line));
  return first === -1 ? '' : lines.slice(first, first + 30).join('\n');
}
