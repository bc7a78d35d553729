/**
 * Tries whether a device's node answers, in a process of its own: a disk that hangs holds whoever reads from it, beyond all
 * signals, and here that would be one of the few threads that read files for everybody.
 */
import { access, constants } from 'node:fs/promises';
import { withDeadline } from '../lib/deadline.ts';
import { exec } from '../lib/exec.ts';
import { errnoOf, isFault, reasonOf } from '../lib/fault.ts';

/** `answers`, or is `empty` (a reader without a card), or `forbidden` to us, or fails for a reason that can be told. */
export type ProbeAnswer = 'answers' | 'empty' | 'forbidden' | { readonly fails: string };

export interface ProbeOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Opens a node and closes it again. */
export function probeOpen(node: string, options: ProbeOptions): Promise<ProbeAnswer> {
  return probe(node, ['bs=1', 'count=0'], options);
}

/** Reads the first sector from the disk itself, past the kernel's cache, which may have it from better days. */
export function probeSector(node: string, bytes: number, options: ProbeOptions): Promise<ProbeAnswer> {
  return probe(node, [`bs=${bytes}`, 'count=1', 'iflag=direct'], options);
}

/** A process that the disk holds for ever is left behind at the deadline, killed, and goes when the disk lets it. */
async function probe(node: string, operands: readonly string[], options: ProbeOptions): Promise<ProbeAnswer> {
  const { timeoutMs } = options;
  try {
    await access(node, constants.R_OK);
    await withDeadline({ what: `Reading ${node}`, ...options }, (signal) =>
      exec(['dd', `if=${node}`, 'of=/dev/null', 'status=none', ...operands], {
        timeoutMs: 2 * timeoutMs,
        signal,
        env: { PATH: process.env['PATH'], LC_ALL: 'C' },
      }),
    );
    return 'answers';
  } catch (error) {
    if (isFault(error, 'aborted')) throw error;
    if (['EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return 'forbidden';
    if (errnoOf(error) === 'ENOENT') return { fails: 'its node is missing' };
    if (isFault(error, 'timeout')) return { fails: `it does not answer within ${timeoutMs / 1000} s` };
    const reason = reasonOf(error, 'exec.failed');
    if (/No medium found/.test(reason)) return 'empty';
    // What a service may open can be narrower than what the node's mode says (DevicePolicy of systemd).
    if (/Operation not permitted|Permission denied/.test(reason)) return 'forbidden';
    return { fails: /dd: .*: (.+)$/.exec(reason)?.[1] ?? reason };
  }
}
