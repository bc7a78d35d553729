/** What a connection's talk needs of the monitor that it is about, in either of xenvm's dialects. Types only. */
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { VmUuid } from '../model/ids.ts';
import type { MonitorCommand } from './commands.ts';
import type { Notification } from './notifications.ts';

/** What a command knows of the connection that it came by. */
export interface Caller {
  /** Aborted when the client has gone. */
  readonly signal: AbortSignal;
  /** Tells the client something, once it has the answer to its `subscribe`. */
  readonly notify: (notification: Notification) => void;
}

export interface SessionOptions {
  readonly uuid: VmUuid;
  readonly clock: Clock;
  readonly log: Log;
  /** Answers a command but `help`, or refuses it by a Fault; `quit` and `subscribe` are answered by being allowed. */
  readonly answer: (command: MonitorCommand, caller: Caller) => Promise<readonly string[]>;
  /** Called when `quit` has been answered. */
  readonly onQuit: () => void;
}
