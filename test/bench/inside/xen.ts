/**
 * The part of the benchmark of Xen that runs in dom0: attaches a device by Usher, by `xl` and by a bare script in turns,
 * or starts a domain by Usher and by `xl`, and prints one JSON line of what it measured. The moment of an attach is that at
 * which the port node has its value.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client } from '../../../src/api/client.ts';
import { newUuid } from '../../../src/model/ids.ts';
import { XenstoreClient } from '../../../src/wire/xenstore/client.ts';
import { measureInTurns } from '../statistics.ts';

const XENSTORED = '/run/xenstored/socket';
const XENSTORED_BEHIND = '/run/xenstored/behind';
const ROUNDS = 15;
const COUNTED_ROUNDS = 5;
const WHOLE_ROUNDS = 10;
const START_ROUNDS = 8;
/** Nothing else is on its way by then. */
const QUIET_MS = 300;
const DRIVER_TIMEOUT_MS = 10_000;
const HEADER_BYTES = 16;

/** What is printed at the end. */
export interface XenSamples {
  readonly writtenMs: Record<'usher' | 'xl', number[]>;
  readonly requests: Record<'usher' | 'script', number[]>;
  readonly wholeMs: Record<'usher vm list' | 'xl list', number[]>;
  readonly startMs: Record<'usher' | 'xl', number[]>;
}

const { values } = parseArgs({
  options: {
    vm: { type: 'string' },
    busid: { type: 'string' },
    socket: { type: 'string' },
    phase: { type: 'string' },
    daemon: { type: 'string' },
  },
});
const { vm = '', busid = '', socket = '', phase = 'time', daemon = '' } = values;
const device = `dom0:${busid}`;
const xs = await XenstoreClient.connect({});
const domid = Number(spawnSync('xl', ['domid', vm], { encoding: 'utf8' }).stdout);
const ports = `/local/domain/0/backend/qusb/${domid}/0/port`;

/** Stands in xenstored's place and counts the requests that pass. */
class CountingRelay {
  requests = 0;
  readonly #server: Server;

  private constructor() {
    renameSync(XENSTORED, XENSTORED_BEHIND);
    this.#server = createServer((client) => this.#serve(client));
  }

  static async open(): Promise<CountingRelay> {
    const relay = new CountingRelay();
    await new Promise<void>((resolve) => relay.#server.listen(XENSTORED, resolve));
    return relay;
  }

  close(): void {
    this.#server.close();
    renameSync(XENSTORED_BEHIND, XENSTORED);
  }

  #serve(client: Socket): void {
    const server = createConnection(XENSTORED_BEHIND);
    let held = Buffer.alloc(0);
    client.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= HEADER_BYTES && held.length >= HEADER_BYTES + held.readUInt32LE(12)) {
        held = held.subarray(HEADER_BYTES + held.readUInt32LE(12));
        this.requests++;
      }
    });
    client.pipe(server).pipe(client);
    for (const socket of [client, server]) {
      socket.on('error', () => undefined);
      socket.on('close', () => [client, server].map((other) => other.destroy()));
    }
  }
}

if (phase === 'time') await time();
else if (phase === 'start') await start();
else await count();
xs.close();
process.exit(0);

/** Times attaches, and the commands that list. */
async function time(): Promise<void> {
  const client = await Client.connect(socket, 'bench');
  const writtenMs = await measureInTurns<'usher' | 'xl', number>(
    {
      usher: () =>
        attached(
          () => client.call('usb.attach', { device, vm }),
          () => letGo(client),
        ),
      xl: () =>
        attached(
          () => xl('usbdev-attach', vm, ...hostAddress()),
          () => xl('usbdev-detach', vm, '0', '1'),
        ),
    },
    { rounds: ROUNDS, warmUps: 2 },
  );
  const wholeMs = await measureInTurns<'usher vm list' | 'xl list', number>(
    {
      'usher vm list': () => timed(() => run('node', ['/cargo/dist/usher.cjs', 'vm', 'list'])),
      'xl list': () => timed(() => run('xl', ['list'])),
    },
    { rounds: WHOLE_ROUNDS, warmUps: 1 },
  );
  client.close();
  print({ writtenMs, wholeMs });
}

/** Times starts of the VM, which does not run yet, and of a domain that xl is told to make by the same words. */
async function start(): Promise<void> {
  const client = await Client.connect(socket, 'bench');
  await client.call('vm.start', { vm });
  const { uuid } = await client.call('vm.show', { vm });
  const cfg = readFileSync(join(dirname(socket), 'xen', uuid, 'xl.cfg'), 'utf8');
  const file = `/root/${vm}-by-xl.cfg`;
  const name = `${vm}-by-xl`;
  writeFileSync(file, cfg.replaceAll(uuid, newUuid()).replace(/^name = .*$/m, `name = "${name}"`));
  await client.call('vm.destroy', { vm });
  const startMs = await measureInTurns<'usher' | 'xl', number>(
    {
      usher: () =>
        timed(
          () => client.call('vm.start', { vm }),
          () => client.call('vm.destroy', { vm }),
        ),
      xl: () =>
        timed(
          () => xl('create', '-e', file),
          () => xl('destroy', name),
        ),
    },
    { rounds: START_ROUNDS, warmUps: 1 },
  );
  client.close();
  print({ startMs });
}

/** Counts requests, by a relay in xenstored's place and a daemon that is started behind it. */
async function count(): Promise<void> {
  const relay = await CountingRelay.open();
  const served = spawn('sh', ['-c', daemon], { stdio: 'ignore' });
  const client = await whenServed();
  const requests = await measureInTurns<'usher' | 'script', number>(
    {
      usher: () =>
        counted(
          relay,
          () => client.call('usb.attach', { device, vm }),
          () => letGo(client),
        ),
      script: async () => {
        const script = await XenstoreClient.connect({ path: XENSTORED });
        const sent = await counted(
          relay,
          () => bareAttach(script),
          () => script.write(`${ports}/1`, ''),
        );
        script.close();
        return sent;
      },
    },
    { rounds: COUNTED_ROUNDS, warmUps: 1 },
  );
  client.close();
  served.kill();
  relay.close();
  print({ requests });
}

/** Detaches by hand, and takes the hand away: what `xl` attaches in its turn would be detached again otherwise. */
async function letGo(client: Client): Promise<void> {
  await client.call('usb.detach', { device });
  await client.call('usb.release', { device });
}

async function whenServed(): Promise<Client> {
  for (let tries = 0; ; tries++) {
    const client = await Client.connect(socket, 'bench').catch(() => undefined);
    if (client !== undefined) return client;
    if (tries > 100) throw new Error('the daemon does not come up');
    await sleep(QUIET_MS);
  }
}

/** What a script does that only wants to be right: is the controller connected, is the port free, write. */
async function bareAttach(script: XenstoreClient): Promise<void> {
  if ((await script.read(`${ports.slice(0, -'/port'.length)}/state`)) !== '4') throw new Error('not connected');
  if ((await script.read(`${ports}/1`)) !== '') throw new Error('not free');
  await script.write(`${ports}/1`, busid);
}

type Work = () => Promise<unknown>;

/** Gives the milliseconds from the call of `attach` until a port has the device. */
async function attached(attach: Work, detach: Work): Promise<number> {
  let start = 0;
  const written = await whenWritten(
    () => {
      start = performance.now();
      return attach();
    },
    detach,
    () => performance.now(),
  );
  return written - start;
}

/** Gives the number of requests from the call of `attach` until a port has the device. */
async function counted(relay: CountingRelay, attach: Work, detach: Work): Promise<number> {
  let before = 0;
  const after = await whenWritten(
    () => {
      before = relay.requests;
      return attach();
    },
    detach,
    () => relay.requests,
  );
  return after - before;
}

/** Reads `gauge` at the moment at which a port has the device, then has `detach` undo the attach. */
async function whenWritten(attach: Work, detach: Work, gauge: () => number): Promise<number> {
  let written = Number.NaN;
  const seen = Promise.withResolvers<void>();
  const watch = await xs.watch(ports, (path) => {
    void xs.read(path).then((value) => {
      if (value !== busid || !Number.isNaN(written)) return;
      written = gauge();
      seen.resolve();
    });
  });
  await sleep(QUIET_MS);
  const done = attach();
  await seen.promise;
  await done;
  await watch.close();
  // A guest that is still asking the device who it is brings the device model down when it is taken away (pvusb.md, 12).
  await hasDriver('usbfs');
  await sleep(QUIET_MS);
  await detach();
  await hasDriver('usbhid');
  return written;
}

/** Waits until a kernel driver has the device: dom0's own `usbhid`, or `usbfs` when the guest has configured it. */
async function hasDriver(name: 'usbhid' | 'usbfs'): Promise<void> {
  const deadline = performance.now() + DRIVER_TIMEOUT_MS;
  for (;;) {
    const { stdout } = spawnSync('sh', ['-c', `readlink /sys/bus/usb/devices/${busid}:*/driver`], { encoding: 'utf8' });
    if (stdout.includes(`/${name}`)) return;
    if (performance.now() > deadline) throw new Error(`${busid} does not get the driver ${name}: ${stdout}`);
    await sleep(50);
  }
}

function hostAddress(): string[] {
  const read = (name: string) => readFileSync(`/sys/bus/usb/devices/${busid}/${name}`, 'utf8').trim();
  return ['type=hostdev', `hostbus=${read('busnum')}`, `hostaddr=${read('devnum')}`, 'controller=0', 'port=1'];
}

function xl(...words: readonly string[]): Promise<void> {
  return run('xl', words);
}

async function run(command: string, words: readonly string[]): Promise<void> {
  const env = { ...process.env, USHER_HOME: dirname(dirname(socket)) };
  const child = spawn(command, words, { stdio: ['ignore', 'ignore', 'inherit'], env });
  const status = await new Promise((resolve) => child.on('exit', resolve));
  if (status !== 0) throw new Error(`${command} ${words.join(' ')} ended with ${status}`);
}

/** Gives the milliseconds that the work takes, and then undoes it. */
async function timed(work: Work, undo?: Work): Promise<number> {
  const start = performance.now();
  await work();
  const took = performance.now() - start;
  await undo?.();
  await sleep(undo === undefined ? 0 : QUIET_MS);
  return took;
}

function print(samples: Partial<XenSamples>): void {
  console.log(JSON.stringify(samples));
}
