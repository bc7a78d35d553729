/** The value of `notify`: `unix,PATH`, or one of xenvm's other ways, of which nothing comes. */
import { printable } from '../lib/text.ts';
import { MAX_SOCKET_PATH_BYTES } from '../lib/unix-server.ts';
import type { NotifyConfig } from '../model/vm.ts';
import { parsePath, type ValueContext } from './values.ts';

const UNIX = 'unix,';
/** With a port or a path behind them; what they would be is not looked at. */
const OTHERS = /^(tcp,[^\s,]+:\d{1,5}|dbus(,\S+)?)$/;

/** Parses it; `none` is like no line. */
export function parseNotify(text: string, context: ValueContext): NotifyConfig | undefined {
  if (text === 'none') return undefined;
  if (OTHERS.test(text)) return { by: 'other', way: text };
  if (!text.startsWith(UNIX)) {
    return context.error(
      `"notify" is unix,PATH (or tcp,HOST:PORT or dbus, which are ignored), not "${printable(text, 60)}".`,
    );
  }
  const path = parsePath(text.slice(UNIX.length).trim(), context);
  if (path === undefined) return undefined;
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return { by: 'unix', path };
  const what = `The path of a socket has at most ${MAX_SOCKET_PATH_BYTES} bytes, and this one ${Buffer.byteLength(path)}.`;
  return context.error(what, UNIX.length);
}

/** Prints it so that `parseNotify` gives it again. */
export function printNotify(config: NotifyConfig): string {
  return config.by === 'unix' ? `${UNIX}${config.path}` : config.way;
}
