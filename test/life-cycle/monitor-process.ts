/** A `xenvm` of a rig as its user has it: begun with a config file, told commands over the socket of its VM, and ended. */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { placesOf, vmSocketPath } from '../../src/config/places.ts';
import { withDeadline } from '../../src/lib/deadline.ts';
import type { VmUuid } from '../../src/model/ids.ts';
import { RunningCommand } from '../support/stage.ts';
import type { LifeRig } from './rig.ts';

/** A save of a guest that is emulated, on a machine that has much else to do. */
const ANSWER_MS = 240_000;
const BEGIN_MS = 120_000;

export interface BeginOptions {
  /** Lines of the config besides the rig's. */
  readonly more?: readonly string[];
  /** Goes on with the domain that is there. */
  readonly isAdopting?: boolean;
}

export class MonitorProcess {
  readonly socket: string;
  readonly #command: RunningCommand;

  private constructor(command: RunningCommand, socket: string) {
    this.#command = command;
    this.socket = socket;
  }

  /** Writes the VM's config file, begins `xenvm` with it and waits until it is ready. The VM is left as it is. */
  static async begin(rig: LifeRig, uuid: VmUuid, options: BeginOptions = {}): Promise<MonitorProcess> {
    const { more = [], isAdopting = false } = options;
    const file = join(rig.home, 'life.cfg');
    const lines = [`uuid = ${uuid}`, 'name = life', 'startup = shutdown', ...rig.config, ...more, ''];
    await writeFile(file, lines.join('\n'));
    const env = { ...process.env, ...rig.env, USHER_HOME: rig.home };
    const [program, ...words] = rig.xenvm;
    const command = new RunningCommand(spawn(program, [...words, ...(isAdopting ? ['--adopt'] : []), file], { env }));
    await command.says(/"msg":"ready"/, BEGIN_MS);
    return new MonitorProcess(command, vmSocketPath(placesOf(env), uuid));
  }

  /** Says a line of the text dialect and gives the lines of its answer. */
  say(line: string): Promise<string[]> {
    return withDeadline({ what: `The answer to "${line}"`, timeoutMs: ANSWER_MS }, () => {
      return new Promise<string[]>((resolve, reject) => {
        let heard = '';
        const socket = connect(this.socket, () => socket.end(`${line}\n`));
        socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
        socket.on('error', reject);
        socket.on('close', () => resolve(heard.trimEnd().split('\n')));
      });
    });
  }

  /** Has it do something, which succeeds; gives what stands before `ok`. @throws Error with the answer, when it is refused */
  async does(line: string): Promise<string[]> {
    const answer = await this.say(line);
    if (answer.at(-1) !== 'ok') throw new Error(`${line}: ${answer.join(' / ')}. The log:\n${this.log}`);
    return answer.slice(0, -1);
  }

  /** Gives the VM's state, in the words of xenvm. */
  async status(): Promise<string> {
    return (await this.does('status')).join(' ');
  }

  /** Tells it to leave its VM, and waits until it is gone; gives its exit status. */
  async quit(): Promise<number | null> {
    await this.does('quit');
    return await this.#command.end();
  }

  /** Kills it as a crash of its own would. */
  async kill(): Promise<void> {
    await this.#command.end('SIGKILL');
  }

  /** The end of what it has logged. */
  get log(): string {
    return this.#command.said.slice(-3000);
  }
}
