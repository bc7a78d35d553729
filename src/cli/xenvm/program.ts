/** xenvm as a whole: one VM in this process, in the foreground or behind. */
import { spawn } from 'node:child_process';
import type { Places } from '../../config/places.ts';
import { asFault, EXIT, Fault, type FaultCode } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import type { Output } from '../command.ts';
import { VERSION } from '../version.ts';
import { type Asked, HELP, readAsked } from './options.ts';

export interface XenvmMeans {
  readonly out: Pick<Output, 'print' | 'tell'>;
  readonly places: Places;
  /** Aborted when it is to end and leave the VM. */
  readonly signal: AbortSignal;
  /** Calls back at each SIGHUP. */
  readonly onHup: (reread: () => void) => void;
  /** Tells the process that waits for this one to be up; absent in the foreground. */
  readonly report?: ((report: Report) => void) | undefined;
}

/** What a xenvm in the background tells the one that started it. */
export type Report = { readonly uuid: string } | { readonly status: number; readonly says: string };

/** A monitor that has its VM, as app gives it. */
interface OpenMonitor {
  readonly quit: Promise<void>;
  readonly log: Pick<Log, 'info' | 'error'>;
  reread(): Promise<void>;
}

/** Exit statuses of the original. */
const STATUS = { held: 1, domain: 2, usage: 3 } as const;
const USAGE: ReadonlySet<FaultCode> = new Set<FaultCode>([
  ...(['usage', 'config.invalid', 'file.unreadable', 'vm.uuid_invalid', 'vm.name_invalid', 'driver.unknown'] as const),
  'socket.path_long',
]);
const CLOSE_TIMEOUT_MS = 10_000;

/** Runs a line; gives the exit status. Writes what goes wrong on standard error, and throws nothing. */
export async function runXenvm(words: readonly string[], means: XenvmMeans): Promise<number> {
  const { out, report } = means;
  try {
    const asked = readAsked(words);
    if (typeof asked === 'string') {
      const { configHelp } = await import('../../config/vm-keys-help.ts');
      const texts = { help: HELP, 'help-config': configHelp(), version: `xenvm of Usher ${VERSION}` };
      out.print(texts[asked]);
      return EXIT.ok;
    }
    return asked.isDaemonizing && report === undefined ? await goBehind(words, means) : await run(asked, means);
  } catch (error) {
    const fault = asFault(error);
    const status = statusOf(fault);
    const says = `error: ${fault.message}${fault.hint === undefined ? '' : `\n       ${fault.hint}`}`;
    if (report === undefined) out.tell(says);
    else report({ status, says });
    return status;
  }
}

async function run({ file, uuid, isStrict, isAdopting }: Asked, means: XenvmMeans): Promise<number> {
  const { out, places, signal, onHup, report } = means;
  const { openOwnMonitor } = await import('../../app/own-monitor.ts');
  const hasLogFile = report !== undefined;
  const monitor = await openOwnMonitor({ version: VERSION, places, file, uuid, isStrict, isAdopting, hasLogFile });
  try {
    if (report === undefined) out.print(monitor.uuid);
    onHup(() => void reread(monitor));
    await monitor.bringUp();
    report?.({ uuid: monitor.uuid });
    await ended(monitor, signal);
    return EXIT.ok;
  } finally {
    // A thread that is stuck in a file system would keep the process.
    const giveUp = setTimeout(() => process.kill(process.pid, 'SIGKILL'), CLOSE_TIMEOUT_MS);
    await monitor.close();
    clearTimeout(giveUp);
  }
}

/** A file that is wrong changes nothing, and costs nobody his VM. */
async function reread({ log, reread: again }: OpenMonitor): Promise<void> {
  try {
    await again();
    log.info('the config was read again');
  } catch (error) {
    log.error('the config could not be read again; the former one holds', { error });
  }
}

async function ended(monitor: OpenMonitor, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await Promise.race([
    monitor.quit,
    new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
  ]);
}

/** Starts this program again in a session of its own, and waits until its VM is up. */
function goBehind(words: readonly string[], { out }: XenvmMeans): Promise<number> {
  return new Promise((resolve, reject) => {
    const [script = ''] = process.argv.slice(1);
    const child = spawn(process.execPath, [...process.execArgv, script, ...words], {
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    child.once('error', reject);
    child.once('exit', (status) => reject(new Fault('internal', { what: `it ended with ${status} before it was up` })));
    child.once('message', (untrusted) => {
      const report = untrusted as Report;
      child.removeAllListeners('exit');
      if (child.connected) child.disconnect();
      child.unref();
      if ('uuid' in report) out.print(report.uuid);
      else out.tell(report.says);
      resolve('uuid' in report ? EXIT.ok : report.status);
    });
  });
}

function statusOf({ code }: Fault): number {
  if (code === 'vm.domain_exists') return STATUS.domain;
  return USAGE.has(code) ? STATUS.usage : STATUS.held;
}
