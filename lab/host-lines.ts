/** Waits for lines in files of a host that grow: logs of a daemon, of a guest's console. */
import type { Host } from './host.ts';
import { shellWord } from './shell-word.ts';

export interface LineOptions {
  readonly timeoutMs: number;
  /** The first line that counts, from 1. Default: 1. */
  readonly fromLine?: number;
}

/**
 * Waits for a line like `pattern` (extended regular expression) in a file of the host that may not exist yet, and gives
 * it. @throws Fault `exec.failed` when none comes in time.
 */
export async function waitForLine(
  host: Host,
  path: string,
  pattern: string,
  { timeoutMs, fromLine = 1 }: LineOptions,
): Promise<string> {
  const line = await host.check(
    `exec 3< <(exec tail -n +${fromLine} -F ${shellWord(path)} 2> /dev/null)
    tail=$!
    grep -a -m 1 -E -e ${shellWord(pattern)} <&3
    kill $tail`,
    { timeoutMs },
  );
  return line.trimEnd();
}
