/**
 * Lets other terminals act on the lab that runs (`npm run lab -- plug …`): a socket in a private folder, a line of JSON
 * with the command, a line with the answer. For people; tests hold their `XenHost` themselves.
 */
import { mkdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { withDeadline } from '../src/lib/deadline.ts';
import { asFault, Fault, type FaultWire, isFault } from '../src/lib/fault.ts';
import { LineSplitter } from '../src/lib/lines.ts';
import { connectUnix, listenUnix, type UnixServer } from '../src/lib/unix-server.ts';
import { QmpError } from '../src/wire/qmp/error.ts';
import { cacheFolder } from './cache.ts';
import type { PluggedDevice } from './device-hands.ts';
import type { LabCommand } from './lab-command.ts';
import type { XenHost } from './xen-host.ts';

/** What a command came to. */
export interface LabAnswer {
  readonly text: string;
  /** The exit status that it gives. */
  readonly status: number;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** A reboot takes a quarter of a minute on an idle machine. */
const ANSWER_TIMEOUT_MS = 5 * 60_000;
/** The status of a script that was killed, as one is for its time. */
const KILLED = 137;
const MAX_LINE_BYTES = 32 * 1024 * 1024;

/** Gives the socket's place, whose folder is made: one lab of a user at a time. */
export async function labSocket(env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const folder = env['XDG_RUNTIME_DIR'] ? join(env['XDG_RUNTIME_DIR'], 'usher-lab') : join(cacheFolder(env), 'run');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return join(folder, 'lab.sock');
}

/** Serves the host on the socket; `stop` is called for the command of that name. @throws Fault `socket.busy`. */
export function serveLab(path: string, xen: XenHost, stop: () => void): Promise<UnixServer> {
  return listenUnix(path, (socket) => void answer(socket, xen, stop), { mode: 0o600 });
}

/** Asks the lab that runs. @throws Fault `socket.unreachable` when none runs, and what the lab answers. */
export async function askLab(path: string, command: LabCommand): Promise<LabAnswer> {
  const socket = await connectUnix(path, { timeoutMs: CONNECT_TIMEOUT_MS }).catch((error: unknown) => {
    if (!isFault(error, 'socket.unreachable')) throw error;
    throw new Fault('socket.unreachable', error.details, {
      hint: 'No lab runs: npm run lab starts one.',
      cause: error,
    });
  });
  try {
    socket.write(`${JSON.stringify(fromHere(command))}\n`);
    const seconds = command.verb === 'run' ? command.seconds : 0;
    const timeoutMs = ANSWER_TIMEOUT_MS + seconds * 1000;
    const line = await withDeadline({ what: 'The answer of the lab', timeoutMs }, () => readLine(socket));
    const reply = JSON.parse(line) as LabAnswer | { readonly error: FaultWire };
    if ('error' in reply) throw Fault.fromWire(reply.error);
    return reply;
  } finally {
    socket.destroy();
  }
}

/** A file is meant as it is called here, not where the lab was started. */
function fromHere(command: LabCommand): LabCommand {
  return command.verb === 'plug' && command.file !== undefined ? { ...command, file: resolve(command.file) } : command;
}

async function answer(socket: Socket, xen: XenHost, stop: () => void): Promise<void> {
  try {
    // Who can write here is the same user: the command is as it was parsed.
    const command = JSON.parse(await readLine(socket)) as LabCommand;
    socket.end(`${JSON.stringify(await perform(xen, command))}\n`);
    if (command.verb === 'stop') stop();
  } catch (error) {
    const fault = error instanceof QmpError ? new Fault('hypervisor.failed', { what: error.desc }) : asFault(error);
    socket.end(`${JSON.stringify({ error: fault.toWire() })}\n`);
  }
}

async function perform(xen: XenHost, command: LabCommand): Promise<LabAnswer> {
  switch (command.verb) {
    case 'plug':
      return done(`plugged ${shown(await xen.hands.plug(command.kind, command))}`);
    case 'pull':
      return done(`pulled ${shown(await xen.hands.pull(command.name))}`);
    case 'list':
      return done(xen.hands.plugged.map(shown).join('\n') || 'nothing is plugged in');
    case 'run': {
      const start = performance.now();
      const { status, output } = await xen.host.run(command.script, { timeoutMs: command.seconds * 1000 });
      const isOver = status === KILLED && performance.now() - start >= command.seconds * 1000;
      return {
        text: isOver ? `${output}lab: ended after ${command.seconds} seconds; --seconds gives more\n` : output,
        status,
      };
    }
    case 'freeze':
      await xen.host.freeze();
      return done('the host stands still; thaw lets it go on');
    case 'thaw':
      await xen.host.thaw();
      return done('the host goes on');
    case 'reboot':
      await xen.reboot(command);
      return done('the host has booted; no guest runs');
    case 'logs':
      return done(await xen.logs());
    case 'stop':
      return done('the lab ends');
    default:
      throw new Fault('usage', { what: `"${command.verb}" is nothing that a running lab does` });
  }
}

function done(text: string): LabAnswer {
  return { text: `${text}\n`, status: 0 };
}

function shown({ name, kind, port, busid, file }: PluggedDevice): string {
  return `${name} (${kind}) in port ${port}, ${busid} in dom0${file === undefined ? '' : `, content ${file}`}`;
}

/** Reads one line, which has to come. @throws Fault `wire.closed`. */
function readLine(socket: Socket): Promise<string> {
  const splitter = new LineSplitter(MAX_LINE_BYTES);
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      const [line] = splitter.push(chunk);
      if (line !== undefined) resolve(line.toString());
    });
    socket.once('close', () => reject(new Fault('wire.closed', { peer: 'the lab', what: 'it said nothing' })));
  });
}
