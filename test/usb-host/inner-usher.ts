/**
 * Usher on the host of the rig: its daemon from the bundle, its command line, and one VM with the small guest. The guest
 * is not booted there, which takes minutes under two emulations: it is booted on this machine, saved, and restored there.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GUEST_CMDLINE } from '../../lab/guest.ts';
import { HOST_PATHS } from '../../lab/host-image.ts';
import { shellWord } from '../../lab/shell-word.ts';
import type { VmDetails } from '../../src/api/views.ts';
import { Stage } from '../support/stage.ts';
import { HostRig } from './host-rig.ts';

const DIST = join(import.meta.dirname, '../../dist');
/** Places on the host. */
const HOME = '/usher';
const DAEMON_LOG = '/daemon.log';
const DAEMON_PID = '/daemon.pid';
const GUEST_LOG = '/guest.log';
const SAVE = `${HOST_PATHS.cargo}/vm.save`;
const COMMAND_TIMEOUT_MS = 90_000;
const START_TIMEOUT_MS = 60_000;
const BOOT_TIMEOUT_MS = 60_000;
/** A state that was saved under KVM could not be loaded on the host, which has none. */
const SETTINGS = 'accelerator: tcg\nlogLevel: debug\n';
const CONTROLLERS = 'usbctrl = ["version=3,ports=8"]';
/** Whatever the guest loads after it is ready: it is to be saved with all of it. */
const AWAIT_MODULES = 'sh until grep -q ^nls_utf8 /proc/modules; do sleep 0.1; done';

/** The Usher of one host, with one VM. */
export class InnerUsher {
  readonly rig: HostRig;
  readonly vm: string;

  private constructor(rig: HostRig, vm: string) {
    this.rig = rig;
    this.vm = vm;
  }

  /** Brings up a host whose daemon runs and whose VM has booted. Half a minute. */
  static async bringUp(vm = 'inner'): Promise<InnerUsher> {
    const stage = await Stage.set();
    try {
      const files = await prepareVm(stage, vm);
      const inner = new InnerUsher(await HostRig.restore({ dist: DIST, ...files }), vm);
      try {
        await inner.#openVm();
        return inner;
      } catch (error) {
        await inner.stop();
        throw error;
      }
    } finally {
      await stage.strike();
    }
  }

  /** Starts the daemon and waits until it serves. */
  async startDaemon(): Promise<void> {
    const node = `USHER_HOME=${HOME} setsid node ${HOST_PATHS.cargo}/dist/usherd.cjs`;
    await this.rig.check(`${node} > ${DAEMON_LOG} 2>&1 < /dev/null & echo $! > ${DAEMON_PID}`);
    await this.rig.waitForLine(DAEMON_LOG, '"msg":"ready"', { timeoutMs: START_TIMEOUT_MS });
  }

  /** Kills the daemon by SIGKILL. */
  async killDaemon(): Promise<void> {
    await this.rig.check(`read -r pid < ${DAEMON_PID}; kill -KILL $pid; while [ -e /proc/$pid ]; do sleep 0.05; done`);
  }

  /** Runs `usher WORDS` there and gives what it printed. @throws Fault `exec.failed` with what it said */
  async usher(...words: readonly string[]): Promise<string> {
    const command = ['node', `${HOST_PATHS.cargo}/dist/usher.cjs`, ...words].map(shellWord).join(' ');
    return await this.rig.check(`USHER_HOME=${HOME} ${command}`, { timeoutMs: COMMAND_TIMEOUT_MS });
  }

  /** Runs `usher WORDS --json` there and gives its answer. */
  async ask<T>(...words: readonly string[]): Promise<T> {
    return JSON.parse(await this.usher(...words, '--json')) as T;
  }

  /** Gives all lines that the guest has said so far. */
  async said(): Promise<string[]> {
    return (await this.rig.check(`tr -d '\\r' < ${GUEST_LOG}`)).trimEnd().split('\n');
  }

  /** Waits until the guest says a line like `pattern` (extended regular expression), after its first `since` lines. */
  async hear(pattern: string, since: number, timeoutMs = 60_000): Promise<string> {
    return await this.rig.waitForLine(GUEST_LOG, pattern, { timeoutMs, fromLine: since + 1 });
  }

  /** Gives the end of the daemon's log, for a test that failed. */
  async daemonLog(): Promise<string> {
    return await this.rig.check(`tail -n 40 ${DAEMON_LOG}`);
  }

  /** Ends the host with everything on it. */
  async stop(): Promise<void> {
    await this.rig.stop();
  }

  async #openVm(): Promise<void> {
    await this.rig.check(`cp -r ${HOST_PATHS.cargo}/home ${HOME}`);
    await this.startDaemon();
    await this.usher('vm', 'create', `${HOME}/${this.vm}.cfg`);
    const { console } = await this.ask<VmDetails>('vm', 'show', this.vm);
    await this.rig.check(`ln -s ${shellWord(console.log)} ${GUEST_LOG}`);
    await this.usher('vm', 'restore', this.vm, '--file', SAVE, '--keep');
  }
}

/** Boots the VM on this machine and saves it; gives what is to be carried to the host. */
async function prepareVm(stage: Stage, name: string): Promise<Readonly<Record<string, string>>> {
  await writeFile(join(stage.home, 'usherd.yaml'), SETTINGS);
  await stage.startDaemon();
  const vm = await stage.makeVm(name, [CONTROLLERS]);
  const { uuid, memoryMiB } = await vm.details();
  const home = join(stage.home, 'inner-home');
  const config = [
    `uuid = ${uuid}`,
    `name = ${name}`,
    `kernel = ${HOST_PATHS.guestKernel}`,
    `initrd = ${HOST_PATHS.guestInitrd}`,
    `cmdline = ${GUEST_CMDLINE}`,
    `memory = ${memoryMiB}`,
    CONTROLLERS,
    '',
  ];
  await mkdir(home);
  await writeFile(join(home, `${name}.cfg`), config.join('\n'));
  await writeFile(join(home, 'usherd.yaml'), SETTINGS);
  await stage.usher('vm', 'start', name);
  await vm.ready();
  await vm.console.waitFor(/^USHER-GUEST exit 0/, { timeoutMs: BOOT_TIMEOUT_MS, since: await vm.type(AWAIT_MODULES) });
  const save = join(stage.home, 'vm.save');
  await stage.usher('vm', 'suspend', name, '--file', save);
  return { home, 'vm.save': save };
}
