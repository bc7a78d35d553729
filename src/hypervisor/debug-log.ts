/**
 * The log that `debug = true` asks for: everything that a driver is told to do to the VM, and what came of it. It lies in the
 * folder of the VMs' logs, which is ours alone. That it is there means that it is written, over restarts of the daemon too.
 */
import { appendFileSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { printVmFile } from '../config/xenvm-file.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import { printable } from '../lib/text.ts';
import type { VmUuid } from '../model/ids.ts';
import type { VmConfig } from '../model/vm.ts';
import type { Driver } from './driver.ts';

/** What changes a domain. Looking at one is done some times a second and would hide the rest. */
const LOGGED: ReadonlySet<string> = new Set<keyof Driver>([
  ...(['start', 'pause', 'unpause', 'requestShutdown', 'reset', 'destroy', 'save'] as const),
  ...(['attachDevice', 'detachDevice', 'addController'] as const),
]);
const MAX_SHOWN = 2000;

export interface DebugLogOptions {
  /** Where the logs lie; made when it is not there. */
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Gives the path of a VM's log. */
export function debugLogOf(folder: string, uuid: VmUuid): string {
  return join(folder, `${uuid}.debug.log`);
}

/** Gives a driver that does as the given one does, and writes it down for the VMs that ask for it. */
export function withDebugLog(driver: Driver, options: DebugLogOptions): Driver {
  const { clock } = options;
  return new Proxy(driver, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      if (typeof name !== 'string' || !LOGGED.has(name)) return member.bind(target) as unknown;
      return async (...args: readonly unknown[]): Promise<unknown> => {
        const write = name === 'start' ? begin(args[0] as VmConfig, options) : writer(args[0] as VmUuid, options);
        if (write === undefined) return await (Reflect.apply(member, target, args) as Promise<unknown>);
        const since = clock.monotonic();
        write(`${name} ${shown(name === 'start' ? args.slice(1) : args.slice(1, 3))}`);
        try {
          const result: unknown = await Reflect.apply(member, target, args);
          write(`${name}: done in ${Math.round(clock.monotonic() - since)} ms`);
          return result;
        } catch (error) {
          write(
            `${name}: failed after ${Math.round(clock.monotonic() - since)} ms: ${printable(messageOf(error), MAX_SHOWN)}`,
          );
          throw error;
        }
      };
    },
  });
}

type Write = (line: string) => void;

/** A start decides whether there is a log; one from before is kept under another name. */
function begin(config: VmConfig, options: DebugLogOptions): Write | undefined {
  const path = debugLogOf(options.folder, config.uuid);
  try {
    if (existsSync(path) && config.isDebugged !== true) renameSync(path, `${path}.1`);
    if (config.isDebugged !== true) return undefined;
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
    appendFileSync(path, '', { mode: 0o600 });
  } catch (error) {
    options.log.warn('the log of debug cannot be written', { vm: config.name, error });
    return undefined;
  }
  const write = writer(config.uuid, options);
  for (const line of printVmFile(config).trimEnd().split('\n')) write?.(`config: ${printable(line, MAX_SHOWN)}`);
  return write;
}

function writer(uuid: VmUuid, { folder, clock, log }: DebugLogOptions): Write | undefined {
  const path = debugLogOf(folder, uuid);
  if (!existsSync(path)) return undefined;
  return (line) => {
    try {
      // At once and in order: what it is for may be how the daemon ends.
      appendFileSync(path, `${new Date(clock.now()).toISOString()} ${line}\n`, { mode: 0o600 });
    } catch (error) {
      log.warn('the log of debug cannot be written', { uuid, error });
    }
  };
}

function shown(args: readonly unknown[]): string {
  const text = JSON.stringify(args, (key, value: unknown) => (key === 'signal' ? undefined : value));
  return printable(text, MAX_SHOWN);
}
