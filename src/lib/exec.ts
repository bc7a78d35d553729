/** Runs other programs: argv only, never a shell, always with a deadline and a cap on what is read. */
import { spawn } from 'node:child_process';
import { Fault, messageOf } from './fault.ts';

export interface ExecOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly input?: string | Buffer | undefined;
  readonly cwd?: string | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Exit statuses that are answers and not failures; 0 always is. */
  readonly accept?: readonly number[] | undefined;
  /** More output than this is a failure. Default 16 MiB. */
  readonly maxBytes?: number | undefined;
}

export interface ExecResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `argv` to its end. @throws Fault `exec.failed` (missing, status, signal, output), `timeout`. */
export function exec(argv: readonly [string, ...string[]], options: ExecOptions): Promise<ExecResult> {
  const { timeoutMs, signal, input, cwd, env, accept = [], maxBytes = 16 * 1024 * 1024 } = options;
  const command = argv.join(' ');
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0], argv.slice(1), { cwd, env, signal, stdio: ['pipe', 'pipe', 'pipe'] });
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    let failure: Fault | undefined;
    const stop = (fault: Fault) => {
      failure ??= fault;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(
      () => stop(new Fault('timeout', { what: `"${command}"`, seconds: timeoutMs / 1000 })),
      timeoutMs,
    );
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > maxBytes) stop(new Fault('exec.failed', { command, what: `it wrote more than ${maxBytes} bytes` }));
        else output[name].push(chunk);
      });
    }
    child.stdin.on('error', () => undefined); // The child may end without reading; its status tells.
    child.stdin.end(input);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(failure ?? new Fault('exec.failed', { command, what: messageOf(error) }, { cause: error }));
    });
    child.on('close', (status, killedBy) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(output.stdout).toString();
      const stderr = Buffer.concat(output.stderr).toString();
      if (failure !== undefined) reject(failure);
      else if (status === 0 || (status !== null && accept.includes(status))) resolve({ status, stdout, stderr });
      else {
        const said = stderr.trim().split('\n').slice(-3).join('; ').slice(0, 500);
        const what = `${status === null ? `ended by ${killedBy}` : `status ${status}`}${said ? `, it said: ${said}` : ''}`;
        reject(new Fault('exec.failed', { command, what }));
      }
    });
  });
}
