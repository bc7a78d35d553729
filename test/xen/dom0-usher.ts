/**
 * Usher in dom0 of a Xen host of the lab: the bundle is carried in and its daemon runs there as a person's would. A
 * test has its command line, its RPC, `xl`, xenstore, the consoles of the guests, and the hands outside.
 */
import { fileURLToPath } from 'node:url';
import type { DeviceHands, DeviceKind, PlugOptions } from '../../lab/device-hands.ts';
import type { RunOptions, RunResult } from '../../lab/host-control.ts';
import { waitForLine } from '../../lab/host-lines.ts';
import { shellWord } from '../../lab/shell-word.ts';
import type { XenHost } from '../../lab/xen-host.ts';
import type { DeviceView, VmDetails } from '../../src/api/views.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { messageOf } from '../../src/lib/fault.ts';
import { DaemonLine } from './daemon-line.ts';

export const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const HOME = '/root/usher';
const SOCKET = `${HOME}/run/usher.sock`;
const DAEMON_LOG = '/var/log/usherd.log';
const DAEMON_PID = '/run/usherd.pid';
const ANSWER_MS = 90_000;
const DEFAULT_PATIENCE_MS = 60_000;
const GUEST_PATIENCE_MS = 120_000;
/** Nobody sits at the lab: its keyboards and pointing devices are given to VMs like everything else. */
const SETTINGS = 'neverCountsAsInput: ["*"]';
const DAEMON = 'node --max-semi-space-size=1 /cargo/dist/usherd.cjs';
/** What a Node that ended well has compiled: the next one needs half the time until it runs. */
const COMPILED = 'NODE_COMPILE_CACHE=/root/compiled';

/** Everything a test touches of one Xen host. */
export class Dom0Usher {
  readonly xen: XenHost;
  readonly #line: DaemonLine;

  /** The host has `dist` in its cargo. */
  constructor(xen: XenHost) {
    this.xen = xen;
    this.#line = new DaemonLine(xen.host);
  }

  /** The hands that plug devices into the host. */
  get hands(): DeviceHands {
    return this.xen.hands;
  }

  /** Runs a bash script in dom0. */
  run(script: string, options?: RunOptions): Promise<RunResult> {
    return this.xen.host.run(script, options);
  }

  /** Runs a script that has to succeed and gives its output. */
  check(script: string, options?: RunOptions): Promise<string> {
    return this.xen.host.check(script, options);
  }

  /** Runs `xl WORDS`, whatever comes of it. */
  xl(...words: readonly string[]): Promise<RunResult> {
    return this.run(['xl', ...words].map(shellWord).join(' '), { timeoutMs: DEFAULT_PATIENCE_MS });
  }

  /** Gives the value of a xenstore node, or undefined. */
  async xenstore(path: string): Promise<string | undefined> {
    const { status, output } = await this.run(`xenstore-read ${shellWord(path)}`);
    return status === 0 ? output.replace(/\n$/, '') : undefined;
  }

  /** Has xl start a guest from a cfg, without Usher, and waits until it is ready. */
  async xlCreate(name: string, cfg: string): Promise<void> {
    const log = `/var/log/xen/console/guest-${name}.log`;
    await this.check(`printf %s ${shellWord(cfg)} > /root/${name}.cfg; rm -f ${log}; xl create /root/${name}.cfg`, {
      timeoutMs: GUEST_PATIENCE_MS,
    });
    await waitForLine(this.xen.host, log, '^USHER-GUEST ready', { timeoutMs: GUEST_PATIENCE_MS });
  }

  /** Has xl attach the device at `busid` to a domain, as a person would; gives what comes of it. */
  async xlAttach(domain: string, busid: string, ...more: readonly string[]): Promise<RunResult> {
    const folder = `/sys/bus/usb/devices/${busid}`;
    const [bus, devnum] = (await this.check(`cat ${folder}/busnum ${folder}/devnum`)).split('\n');
    return await this.xl('usbdev-attach', domain, `hostbus=${bus}`, `hostaddr=${devnum}`, ...more);
  }

  /** Plugs a device in and waits until dom0 has it configured; gives its busid. */
  async plug(kind: DeviceKind, options: PlugOptions = {}): Promise<string> {
    const { busid } = await this.hands.plug(kind, options);
    await this.check(`until [ -e /sys/bus/usb/devices/${busid}:1.0 ]; do sleep 0.05; done`);
    return busid;
  }

  /** Pulls a device out and waits until dom0 has noticed. */
  async pull(name: string): Promise<void> {
    const { busid } = await this.hands.pull(name);
    await this.check(`while [ -e /sys/bus/usb/devices/${busid} ]; do sleep 0.05; done`);
  }

  /** Gives the kernel driver of the device's first interface in dom0, '' without one. */
  async kernelDriver(busid: string): Promise<string> {
    return (await this.check(`basename "$(readlink /sys/bus/usb/devices/${busid}:1.0/driver)"`)).trim();
  }

  /** Gives how Usher shows the device at `busid`; undefined when it does not. */
  async device(busid: string): Promise<DeviceView | undefined> {
    const devices = await this.ask<DeviceView[]>('usb.list');
    return devices.find(({ device }) => device === `dom0:${busid}`);
  }

  /** Waits until Usher shows the device at `busid` as attached to the VM. */
  async waitAttached(busid: string, vm: string): Promise<DeviceView> {
    return await this.eventually(`${busid} in ${vm}`, async () => {
      const view = await this.device(busid);
      return view?.state === 'attached' && view.vm === vm ? view : undefined;
    });
  }

  /** Lists the USB devices that the guest of a PV VM sees, as `vid:pid:serial`. */
  async seenBy(name: string): Promise<string[]> {
    const since = await this.linesOf(name);
    const { console } = await this.ask<VmDetails>('vm.show', { vm: name });
    await this.check(`echo usb | socat -t 1 - UNIX-CONNECT:${shellWord(console.socket)} > /dev/null`);
    await this.guestSays(name, '^USHER-GUEST usb-end', since);
    const said = await this.check(`tail -n +${since + 1} ${shellWord(console.log)} | tr -d '\\r'`);
    return [...said.matchAll(/^USHER-GUEST usb= \S+ (\S+) serial=(\S*)/gm)].map(
      ([, id, serial = '']) => `${id}:${decodeURIComponent(serial)}`,
    );
  }

  /** Starts the daemon and waits until it serves. `env` is added to its environment. */
  async startDaemon(env: Readonly<Record<string, string>> = {}): Promise<void> {
    const words = Object.entries({ USHER_HOME: HOME, ...env }).map(([key, value]) => `${key}=${shellWord(value)}`);
    const node = `${COMPILED} ${words.join(' ')} setsid ${DAEMON}`;
    await this.check(
      `mkdir -p ${HOME}; [ -e ${HOME}/usherd.yaml ] || echo ${shellWord(SETTINGS)} > ${HOME}/usherd.yaml; : > ${DAEMON_LOG}; ${node} >> ${DAEMON_LOG} 2>&1 < /dev/null & echo $! > ${DAEMON_PID}
      until grep -q '"msg":"ready"' ${DAEMON_LOG}; do
        [ -e /proc/$(cat ${DAEMON_PID}) ] || { cat ${DAEMON_LOG}; exit 1; }
        sleep 0.1
      done`,
      { timeoutMs: DEFAULT_PATIENCE_MS },
    );
    await this.#line.open(SOCKET);
  }

  /** The daemon's home in dom0: its settings and its policy are there. */
  readonly home = HOME;
  /** The daemon's socket in dom0. */
  readonly socket = SOCKET;
  /** The command that starts the daemon, as words for a shell. */
  readonly daemonCommand = `${COMPILED} USHER_HOME=${HOME} exec ${DAEMON}`;

  /** Creates a VM that boots the lab's guest, and starts it; resolves when the guest says that it is ready. */
  async startGuest(name: string, settings: Readonly<Record<string, string | number>>): Promise<void> {
    await this.createVm(name, settings);
    await this.ask('vm.start', { vm: name });
    await this.guestSays(name, '^USHER-GUEST ready');
  }

  /** Creates a VM from the lines of its config file. */
  async createVm(name: string, settings: Readonly<Record<string, string | number>>): Promise<void> {
    const lines = Object.entries({ name, driver: 'xen', ...settings }).map(([key, value]) => `${key} = ${value}\n`);
    await this.ask('vm.create', { name, content: lines.join('') });
  }

  /** Waits until the VM's console log has a line like `pattern` (extended regular expression), after `since` lines. */
  async guestSays(name: string, pattern: string, since = 0, timeoutMs = GUEST_PATIENCE_MS): Promise<string> {
    const { console } = await this.ask<VmDetails>('vm.show', { vm: name });
    return await waitForLine(this.xen.host, console.log, pattern, { timeoutMs, fromLine: since + 1 });
  }

  /** Has the shell of the VM's guest run a command, which has to succeed; gives what it printed. */
  async inGuest(name: string, command: string): Promise<string> {
    const since = await this.linesOf(name);
    const { console } = await this.ask<VmDetails>('vm.show', { vm: name });
    const typed = shellWord(`sh ${command}`);
    await this.check(`echo ${typed} | socat -t 1 - UNIX-CONNECT:${shellWord(console.socket)} > /dev/null`);
    const end = await this.guestSays(name, 'USHER-GUEST exit [0-9]+', since);
    const said = await this.check(`tail -n +${since + 1} ${shellWord(console.log)} | tr -d '\\r'`);
    if (!/exit 0$/.test(end.trim())) throw new Error(`${command} failed in ${name}:\n${said}`);
    return said;
  }

  /** How many lines the VM's console log has. */
  async linesOf(name: string): Promise<number> {
    const { console } = await this.ask<VmDetails>('vm.show', { vm: name });
    return Number(await this.check(`cat ${shellWord(console.log)} 2> /dev/null | wc -l`));
  }

  /** Ends the daemon by a signal, unless it has ended by itself, and waits until it is gone. */
  async endDaemon(signal: 'TERM' | 'KILL'): Promise<void> {
    await this.check(
      `pid=$(cat ${DAEMON_PID}); kill -${signal} $pid 2> /dev/null; while [ -e /proc/$pid ]; do sleep 0.05; done`,
    );
  }

  /** Waits until the daemon has ended by itself. */
  async daemonEnd(): Promise<void> {
    await this.check(`pid=$(cat ${DAEMON_PID}); while [ -e /proc/$pid ]; do sleep 0.05; done`, {
      timeoutMs: DEFAULT_PATIENCE_MS,
    });
  }

  /** Gives the end of the daemon's log. */
  daemonLog(lines = 60): Promise<string> {
    return this.check(`tail -n ${lines} ${DAEMON_LOG}`);
  }

  /** Runs `usher WORDS`, which costs a start of Node: some 2 s here. */
  usher(...words: readonly string[]): Promise<RunResult> {
    const command = ['node', '/cargo/dist/usher.cjs', ...words].map(shellWord).join(' ');
    return this.run(`${COMPILED} USHER_HOME=${HOME} ${command}`, { timeoutMs: DEFAULT_PATIENCE_MS });
  }

  /** Asks the daemon by RPC. @throws Error with the fault's code and sentence */
  async ask<T>(operation: string, params: object = {}): Promise<T> {
    const { result, error } = await this.#line.ask(operation, params, ANSWER_MS).catch(async (reason: unknown) => {
      throw new Error(`${operation}: ${messageOf(reason)}. The daemon said:\n${await this.daemonLog()}`);
    });
    if (error !== undefined) throw new Error(`${error.data.code}: ${error.data.message}`);
    return result as T;
  }

  /** Waits until the probe gives something other than `undefined` or `false`. */
  eventually<T>(
    what: string,
    probe: () => Promise<T | undefined | false>,
    timeoutMs = DEFAULT_PATIENCE_MS,
  ): Promise<T> {
    return pollUntil({ what, timeoutMs, everyMs: 200 }, async () => {
      const answer = await probe();
      return answer === false ? undefined : answer;
    });
  }

  /** Ends the host. */
  async stop(): Promise<void> {
    this.#line.close();
    await this.xen.stop();
  }
}
