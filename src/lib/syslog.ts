/**
 * The system log: one message as syslog(3) sends it, a datagram to the socket that syslog daemons and journald listen on.
 * For what has to be kept where we cannot change it; our own log is log.ts.
 */
import { sendDatagram } from './native.ts';
import { printable } from './text.ts';

/** Where the system log listens. */
export const SYSTEM_LOG = '/dev/log';

/** LOG_AUTHPRIV, LOG_NOTICE (RFC 3164, 4.1.1): what is about security, and no failure. */
const PRIORITY = 10 * 8 + 5;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const WORDS: Readonly<Record<number, string>> = {
  2: 'there is no such socket',
  11: 'its queue is full',
  13: 'access is denied',
  91: 'it is no datagram socket',
  111: 'nobody listens',
};

/** Sends one message. Gives what went wrong, as half a sentence; never waits. */
export function tellSystemLog(tag: string, message: string, at: Date, path = SYSTEM_LOG): string | undefined {
  const two = (number: number) => String(number).padStart(2, '0');
  const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':');
  const date = `${MONTHS[at.getMonth()]} ${String(at.getDate()).padStart(2)} ${clock}`;
  const text = `<${PRIORITY}>${date} ${tag}[${process.pid}]: ${printable(message, 1000)}`;
  const errno = sendDatagram(path, Buffer.from(text));
  return errno === undefined ? undefined : `${path}: ${WORDS[errno] ?? `errno ${errno}`}`;
}
