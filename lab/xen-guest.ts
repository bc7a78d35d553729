/**
 * A small guest in a domain of the Xen host, seen from outside: what it says, and a hand on its console. Every question
 * is a script in dom0; for many questions ask in dom0 itself.
 */
import type { ShellAnswer } from './console.ts';
import type { Host } from './host.ts';
import { waitForLine } from './host-lines.ts';
import { shellWord } from './shell-word.ts';
import { XEN_PATHS } from './xen-guests.ts';

/** What the guest's shell may take beyond the command. */
const GRACE_MS = 15_000;

/** One guest by its name. The name may come and go: its log goes on. */
export class XenGuest {
  readonly name: string;
  readonly #host: Host;

  constructor(host: Host, name: string) {
    this.#host = host;
    this.name = name;
  }

  /** Gives the lines that it has said, all or those after the first `since`. */
  async said(since = 0): Promise<string[]> {
    const log = shellWord(XEN_PATHS.log(this.name));
    const text = await this.#host.check(`[ ! -e ${log} ] || tail -n +${since + 1} ${log} | tr -d '\\r'`);
    return text === '' ? [] : text.trimEnd().split('\n');
  }

  /** Tells how many lines it has said: what `since` takes. */
  async position(): Promise<number> {
    const log = shellWord(XEN_PATHS.log(this.name));
    return Number(await this.#host.check(`[ -e ${log} ] && wc -l < ${log} || echo 0`));
  }

  /**
   * Waits for a line like `pattern` (extended regular expression) after its first `since` lines, and gives it.
   * @throws Fault `exec.failed` when none comes in time.
   */
  async waitFor(pattern: string, { timeoutMs, since = 0 }: { timeoutMs: number; since?: number }): Promise<string> {
    return await waitForLine(this.#host, XEN_PATHS.log(this.name), pattern, { timeoutMs, fromLine: since + 1 });
  }

  /** Types a line on its console; gives the position before it. @throws Fault `exec.failed` when it does not run. */
  async type(text: string): Promise<number> {
    const since = await this.position();
    await this.#host.check(`/lab/type ${shellWord(this.name)} ${shellWord(text)}`);
    return since;
  }

  /** Types a line and waits for the guest's answer to it. */
  async ask(text: string, answer: string, timeoutMs: number): Promise<string> {
    return await this.waitFor(answer, { timeoutMs, since: await this.type(text) });
  }

  /** Has its shell run a command. @throws Fault `exec.failed` when it does not run or does not answer. */
  async shell(command: string, timeoutMs: number): Promise<ShellAnswer> {
    const seconds = Math.ceil(timeoutMs / 1000);
    const { status, output } = await this.#host.run(
      `SECONDS_LEFT=${seconds} /lab/in-guest ${shellWord(this.name)} ${shellWord(command)}`,
      { timeoutMs: timeoutMs + GRACE_MS },
    );
    return { status, lines: output === '' ? [] : output.replace(/\n$/, '').split('\n') };
  }
}
