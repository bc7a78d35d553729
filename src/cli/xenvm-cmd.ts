/** The program `xenvm-cmd`: sends a command to the monitor of a VM, as OpenXT's command of that name. */
import { monitorSocketsOf } from '../config/places.ts';
import { endWithReader, terminal } from './terminal.ts';
import { runXenvmCmd } from './xenvm-cmd/program.ts';

endWithReader();
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
const socketsOf = monitorSocketsOf.bind(undefined, process.env);
void runXenvmCmd(process.argv.slice(2), { out: terminal, socketsOf, signal: stop.signal }).then((status) => {
  process.exitCode = status;
});
