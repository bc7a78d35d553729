/**
 * Tells how a guest ended, also if nobody watched. QEMU stays after the end (`-action shutdown=pause`), in the run state
 * `shutdown` for a halt and for a reboot alike; its trace tells the two apart: a halt goes through
 * `qemu_system_shutdown_request`, a reboot (softmmu/runstate.c, `qemu_system_reset_request`) does not.
 */
import { readFile } from 'node:fs/promises';
import type { QmpRunState, QmpShutdownCause } from '../../wire/qmp/commands.ts';
import type { Death } from '../driver.ts';

/**
 * Gives the death that a run state stands for; `undefined` for the living. `cause` is that of the last SHUTDOWN event,
 * if one was heard: it serves where QEMU was built without the log trace backend.
 */
export async function readDeath(
  state: QmpRunState,
  traceFile: string,
  cause: QmpShutdownCause | undefined,
): Promise<Death | undefined> {
  if (state === 'guest-panicked') return { reason: 'crash', detail: 'the guest panicked' };
  if (state === 'internal-error') return { reason: 'crash', detail: 'QEMU met something that it cannot emulate' };
  if (state !== 'shutdown') return undefined;
  const trace = await readFile(traceFile, 'utf8').catch(() => '');
  return deathInTrace(trace) ?? deathByCause(cause);
}

function deathInTrace(trace: string): Death | undefined {
  const lines = trace.split('\n');
  const end = lines.findLastIndex((line) => /\brunstate_set\b.*\(shutdown\)\s*$/.test(line));
  if (end === -1) return undefined;
  // What belongs to this end stands between it and the run state before it.
  const start = lines.findLastIndex((line, i) => i < end && /\brunstate_set\b/.test(line));
  const wasRequested = lines.slice(start + 1, end).some((line) => line.includes('qemu_system_shutdown_request'));
  return wasRequested ? HALT : REBOOT;
}

function deathByCause(cause: QmpShutdownCause | undefined): Death {
  if (cause === undefined) return { reason: 'halt', detail: 'the guest ended, and this QEMU does not tell how' };
  return cause === 'guest-reset' ? REBOOT : HALT;
}

const HALT: Death = { reason: 'halt', detail: 'the guest powered off' };
const REBOOT: Death = { reason: 'reboot', detail: 'the guest asked for a reset' };
