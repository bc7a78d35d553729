/**
 * How long a guest stands still when it is saved, live and plainly, and how long a start takes: from the request until
 * QEMU runs the guest, against a bare QEMU with the very same arguments.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, guestImage } from '../../lab/guest.ts';
import type { Client } from '../../src/api/client.ts';
import { QmpSession } from '../../src/wire/qmp/session.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import { Home } from './home.ts';
import { measureInTurns } from './statistics.ts';

const VM = 'bench';
const BOOT_TIMEOUT_MS = 180_000;
const RUN_TIMEOUT_MS = 30_000;
const POLL_MS = 1;
/** A start is over at once; a save and a restore take seconds. */
const STARTS = { rounds: 15, warmUps: 1 };
const SAVES = { rounds: 5, warmUps: 1 };

export const saving: Benchmark = {
  name: 'saving',
  about: 'how long a guest stands still for its save, and start -> running against a bare QEMU',
  async run({ tell }): Promise<readonly Figure[]> {
    const home = await Home.make();
    const client = await home.start();
    try {
      const { uuid } = await client.call('vm.create', { content: await configText() });
      tell('starting in turns with a bare QEMU');
      const starts = await measureStarts(client, home, uuid);
      tell('saving in turns, live and plainly');
      const pauses = await measurePauses(client, home);
      return [
        figure('suspend live=true: the guest stands still', 'ms', pauses.live, {
          floor: { what: 'plain suspend', samples: pauses.plain },
          goals: [{ of: 'ratio', atMost: 1 }],
        }),
        figure('start -> the guest runs', 'ms', starts.usher, {
          floor: { what: 'bare qemu-system, same arguments', samples: starts.bare },
          goals: [{ of: 'ratio', atMost: 1.05 }],
        }),
      ];
    } finally {
      await client.call('vm.destroy', { vm: VM }).catch(() => undefined);
      client.close();
      await home.remove();
    }
  },
};

async function measurePauses(client: Client, home: Home) {
  await client.call('vm.start', { vm: VM });
  const { console: paths } = await client.call('vm.show', { vm: VM });
  const log = GuestConsole.follow(paths.log);
  await log.waitFor(/^USHER-GUEST ready /, { timeoutMs: BOOT_TIMEOUT_MS });
  log.close();
  // All go on from one state, which was saved plainly: under emulation a live save may miss a write.
  const [base, file] = [join(home.folder, 'base.save'), join(home.folder, 'bench.save')];
  await client.call('vm.suspend', { vm: VM, file: base, isLive: false });
  const pause = async (isLive: boolean) => {
    await client.call('vm.restore', { vm: VM, file: base, isKept: true });
    await sleep(500); // The guest is to be at its work again.
    return (await client.call('vm.suspend', { vm: VM, file, isLive })).pausedMs;
  };
  return await measureInTurns({ live: () => pause(true), plain: () => pause(false) }, SAVES);
}

async function measureStarts(client: Client, home: Home, uuid: string) {
  const runtime = join(home.places.runtimeFolder, 'qemu', uuid);
  await client.call('vm.start', { vm: VM });
  const pid = (await readFile(join(runtime, 'pid'), 'utf8')).trim();
  const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').slice(0, -1);
  await client.call('vm.destroy', { vm: VM });
  const byUsher = async () => {
    const begin = performance.now();
    await client.call('vm.start', { vm: VM });
    const end = performance.now();
    await client.call('vm.destroy', { vm: VM });
    return end - begin;
  };
  return await measureInTurns({ usher: byUsher, bare: () => startBare(argv, runtime) }, STARTS);
}

/** Starts QEMU with its words in a folder of its own, and gives how long it took until its QMP said that the guest runs. */
async function startBare(argv: readonly string[], runtime: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'usher-bare-'));
  await mkdir(join(folder, 'run'));
  const [binary = '', ...words] = argv.map((word) => word.replaceAll(runtime, join(folder, 'run')));
  const begin = performance.now();
  const qemu = spawn(binary, words, { cwd: join(folder, 'run'), stdio: 'ignore' });
  const exited = once(qemu, 'exit');
  try {
    await untilRunning(join(folder, 'run/qmp.sock'), qemu);
    return performance.now() - begin;
  } finally {
    qemu.kill('SIGKILL');
    await exited;
    await rm(folder, { recursive: true });
  }
}

async function untilRunning(path: string, qemu: ChildProcess): Promise<void> {
  const deadline = performance.now() + RUN_TIMEOUT_MS;
  while (performance.now() < deadline && qemu.exitCode === null) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      const session = await QmpSession.open(socket, { peer: path });
      while (!(await session.execute('query-status')).running) await sleep(POLL_MS);
      session.close();
      return;
    } catch {
      socket.destroy();
      await sleep(POLL_MS);
    }
  }
  throw new Error('the bare QEMU did not come to run');
}

async function configText(): Promise<string> {
  const { kernel, initrd } = await guestImage();
  const boot = [`kernel = ${kernel}`, `initrd = ${initrd}`, `cmdline = ${GUEST_CMDLINE}`];
  return [`name = ${VM}`, 'driver = qemu', ...boot, 'memory = 192', ''].join('\n');
}
