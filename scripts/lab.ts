/**
 * `npm run lab`: a real Xen host for a person, with a shell in its dom0; with further words it acts on the one that runs.
 * `npm run lab -- help` says what there is.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { LAB_USAGE, type LabCommand, parseLabCommand } from '../lab/lab-command.ts';
import { askLab, labSocket, serveLab } from '../lab/lab-service.ts';
import { XenHost } from '../lab/xen-host.ts';
import { relayTerminal } from '../src/cli/console.ts';
import { pollUntil } from '../src/lib/deadline.ts';
import { asFault, EXIT, isFault } from '../src/lib/fault.ts';
import { connectUnix } from '../src/lib/unix-server.ts';

/** Ctrl-\: what runs in dom0 needs Ctrl-C, and `xl console` ends with Ctrl-]. */
const LEAVE = 0x1c;
const CONNECT_TIMEOUT_MS = 5_000;
const REBOOT_TIMEOUT_MS = 5 * 60_000;
/** Kills the shell that waits there, so that the next one greets whoever has come. */
const GREET = 'pkill -KILL -t hvc1';

try {
  process.exitCode = await main(parseLabCommand(process.argv.slice(2)));
} catch (error) {
  const { message, hint, exit } = asFault(error);
  console.error(`lab: ${message}${hint === undefined ? '' : `\n     ${hint}`}`);
  if (!isFault(error)) console.error(error);
  process.exitCode = exit;
}

async function main(command: LabCommand): Promise<number> {
  if (command.verb === 'help') {
    process.stdout.write(LAB_USAGE);
    return EXIT.ok;
  }
  const path = await labSocket();
  if (command.verb === 'start') return start(path, command);
  const { text, status } = await askLab(path, command);
  process.stdout.write(text);
  return status;
}

async function start(path: string, options: Extract<LabCommand, { verb: 'start' }>): Promise<number> {
  const ended = new AbortController();
  const began = performance.now();
  const xen = await bringUp(options);
  try {
    const server = await serveLab(path, xen, () => ended.abort());
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => ended.abort());
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    console.log(`lab: the host is up after ${seconds} s${options.hasGuests ? ', with the guests pv and hvm' : ''}`);
    console.log('lab: from another terminal: npm run lab -- plug storage --serial S1; npm run lab -- help');
    try {
      if (process.stdin.isTTY) await openShell(xen, ended.signal);
      else if (!ended.signal.aborted) await once(ended.signal, 'abort');
    } finally {
      await server.close();
    }
  } finally {
    await xen.stop();
  }
  console.log('lab: ended');
  return EXIT.ok;
}

async function bringUp({ hasGuests, xenstored }: Extract<LabCommand, { verb: 'start' }>): Promise<XenHost> {
  if (xenstored === 'oxenstored') {
    console.log('lab: the host boots, which takes a quarter of a minute');
    return XenHost.boot({ xenstored });
  }
  return hasGuests ? XenHost.restoreWithGuests() : XenHost.restore();
}

/** Gives the person a shell in dom0 until they leave or the lab ends; after a reboot a new one. */
async function openShell(xen: XenHost, signal: AbortSignal): Promise<void> {
  const path = join(xen.host.folder, 'shell');
  console.log('lab: this is a shell in dom0; leave it, and end the lab, with Ctrl-\\');
  while (!signal.aborted) {
    const what = 'The terminal of dom0';
    const socket = await pollUntil({ what, timeoutMs: REBOOT_TIMEOUT_MS, everyMs: 200, signal }, () =>
      connectUnix(path, { timeoutMs: CONNECT_TIMEOUT_MS }).catch(() => undefined),
    );
    signal.addEventListener('abort', () => socket.destroy(), { once: true });
    const { rows = 24, columns = 80 } = process.stdout;
    void xen.host.run(`stty -F /dev/hvc1 rows ${rows} columns ${columns}; ${GREET}`).catch(() => undefined);
    if (await relayTerminal(socket, LEAVE)) return;
  }
}
