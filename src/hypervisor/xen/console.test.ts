import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pollUntil } from '../../lib/deadline.ts';
import { silentLog } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import { Consoles } from './console.ts';

const UUID = '6f1c2d3e-0000-4000-8000-000000000001' as VmUuid;
/**
 * Run by script(1), which has the far side of the terminal, as xenconsoled has it for a guest. Raw from the beginning;
 * something has it open all the time.
 */
const NEAR_SIDE = 'stty raw -echo; tty; exec sleep 1000';

let folder: string;
const children: ChildProcess[] = [];
const sockets: Socket[] = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-xen-console-'));
});
after(async () => {
  for (const socket of sockets) socket.destroy();
  for (const child of children) child.kill();
  await rm(folder, { recursive: true });
});

/** Collects what comes. */
function collect(stream: NodeJS.ReadableStream): { text: string } {
  const seen = { text: '' };
  stream.on('data', (chunk: Buffer) => {
    seen.text += chunk.toString();
  });
  return seen;
}

const until = (probe: () => boolean) =>
  pollUntil({ what: 'It', timeoutMs: 10_000, everyMs: 5 }, () => probe() || undefined);

async function guest() {
  const child = spawn('script', ['-q', '-f', '-c', NEAR_SIDE, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const said = collect(child.stdout);
  await until(() => said.text.includes('\n'));
  const path = said.text.trim();
  said.text = '';
  return { path, said, say: (text: string) => child.stdin.write(text), end: () => child.kill('SIGKILL') };
}

function client(path: string) {
  const socket = connect(path);
  sockets.push(socket);
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return { socket, heard: collect(socket), closed };
}

test('what the guest says reaches all who listen, and what they type reaches the guest', async () => {
  const far = await guest();
  const path = join(folder, 'a.sock');
  const consoles = new Consoles({ terminalOf: async () => far.path, log: silentLog });
  await consoles.serve(UUID, path);
  await consoles.serve(UUID, path);
  const [first, second] = [client(path), client(path)];
  first.socket.write('hello\x03');
  await until(() => far.said.text === 'hello\x03');
  far.say('login: ');
  await until(() => first.heard.text === 'login: ' && second.heard.text === 'login: ');
  second.socket.write('root\n');
  await until(() => far.said.text === 'hello\x03root\n');
  first.socket.destroy();
  far.say('more');
  await until(() => second.heard.text === 'login: more');
  await consoles.close();
  await second.closed;
});

test('the terminal is open only while somebody is connected', async () => {
  const far = await guest();
  const path = join(folder, 'b.sock');
  const consoles = new Consoles({ terminalOf: async () => far.path, log: silentLog });
  await consoles.serve(UUID, path);
  const one = client(path);
  one.socket.write('x');
  await until(() => far.said.text === 'x');
  one.socket.destroy();
  // Nobody reads: what is said stays in the terminal for the next who opens it.
  await until(() => one.socket.destroyed);
  await new Promise((resolve) => setTimeout(resolve, 50));
  far.say('for the next');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const next = client(path);
  await until(() => next.heard.text === 'for the next');
  await consoles.close();
});

test('when the guest ends, or has no terminal, who listens is told by the end of the connection', async () => {
  const far = await guest();
  const path = join(folder, 'c.sock');
  let terminal: string | undefined = far.path;
  const consoles = new Consoles({ terminalOf: async () => terminal, log: silentLog });
  await consoles.serve(UUID, path);
  const one = client(path);
  one.socket.write('x');
  await until(() => far.said.text === 'x');
  far.end();
  await one.closed;
  terminal = undefined;
  await client(path).closed;
  for (const wrong of ['/dev/null', '/dev/pts/../null', '/etc/passwd', '/dev/pts/99999']) {
    terminal = wrong;
    await client(path).closed;
  }
  await consoles.end(UUID);
  await client(path).closed;
});
