/**
 * Usher in dom0 of a Xen host of the lab: the bundle is carried in and its daemon runs there as a person's would. A
 * test has its command line, its RPC, `xl`, xenstore, the consoles of the guests, and the hands outside.
 */
import { fileURLToPath } from 'node:url';
import type { DeviceHands } from '../../lab/device-hands.ts';
import type { RunOptions, RunResult } from '../../lab/host-control.ts';
import type { XenHost } from '../../lab/xen-host.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { quote } from '../usb-host/host-rig.ts';

export const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const HOME = '/root/usher';
const SOCKET = `${HOME}/run/usher.sock`;
const DAEMON_LOG = '/var/log/usherd.log';
const DAEMON_PID = '/run/usherd.pid';
const ANSWER_SECONDS = 90;
const DEFAULT_PATIENCE_MS = 60_000;

/** Everything a test touches of one Xen host. */
export class Dom0Usher {
  readonly xen: XenHost;

  /** The host has `dist` in its cargo. */
  constructor(xen: XenHost) {
    this.xen = xen;
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
    return this.run(['xl', ...words].map(quote).join(' '), { timeoutMs: DEFAULT_PATIENCE_MS });
  }

  /** Gives the value of a xenstore node, or undefined. */
  async xenstore(path: string): Promise<string | undefined> {
    const { status, output } = await this.run(`xenstore-read ${quote(path)}`);
    return status === 0 ? output.replace(/\n$/, '') : undefined;
  }

  /** Starts the daemon and waits until it serves. `env` is added to its environment. */
  async startDaemon(env: Readonly<Record<string, string>> = {}): Promise<void> {
    const words = Object.entries({ USHER_HOME: HOME, ...env }).map(([key, value]) => `${key}=${quote(value)}`);
    const node = `${words.join(' ')} setsid node --max-semi-space-size=1 /cargo/dist/usherd.cjs`;
    await this.check(
      `mkdir -p ${HOME}; : > ${DAEMON_LOG}; ${node} >> ${DAEMON_LOG} 2>&1 < /dev/null & echo $! > ${DAEMON_PID}
      until grep -q '"msg":"ready"' ${DAEMON_LOG}; do
        [ -e /proc/$(cat ${DAEMON_PID}) ] || { cat ${DAEMON_LOG}; exit 1; }
        sleep 0.1
      done`,
      { timeoutMs: DEFAULT_PATIENCE_MS },
    );
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
    const command = ['node', '/cargo/dist/usher.cjs', ...words].map(quote).join(' ');
    return this.run(`USHER_HOME=${HOME} ${command}`, { timeoutMs: DEFAULT_PATIENCE_MS });
  }

  /** Asks the daemon by RPC. @throws Error with the fault's code and sentence */
  async ask<T>(operation: string, params: object = {}): Promise<T> {
    const request = JSON.stringify({ jsonrpc: '2.0', id: 1, method: operation, params });
    // Events and progress may come before the answer, which has the id.
    const answer = await this.check(
      `coproc peer { exec socat - UNIX-CONNECT:${SOCKET}; }
      printf '%s\\n' ${quote(request)} >&"\${peer[1]}"
      while IFS= read -r -t ${ANSWER_SECONDS} line <&"\${peer[0]}"; do
        case $line in *'"id":1,'*) printf '%s' "$line"; break ;; esac
      done
      kill $peer_PID`,
      { timeoutMs: (ANSWER_SECONDS + 5) * 1000 },
    );
    if (answer === '') throw new Error(`${operation}: no answer. The daemon said:\n${await this.daemonLog()}`);
    const { result, error } = JSON.parse(answer) as { result: T; error?: { data: { code: string; message: string } } };
    if (error !== undefined) throw new Error(`${error.data.code}: ${error.data.message}`);
    return result;
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
    await this.xen.stop();
  }
}
