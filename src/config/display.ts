/** The value of `display`: `none`, `vnc:use-port-unused,keymap=en-us,port=0`, `sdl`, `intel`. */
import { printable } from '../lib/text.ts';
import type { DisplayConfig } from '../model/vm.ts';
import { parseBoolean, parseInteger, parseWord, splitItems, type ValueContext } from './values.ts';

const PROTOCOLS = ['none', 'vnc', 'sdl', 'intel'] as const;
const KEYMAP = /^[a-z]{2,3}(-[a-z]{2,4})?$/;
const MAX_PORT = 65_535;
/** VNC's display 0 is this TCP port (RFC 6143, 7.8 of its registry). */
export const VNC_BASE_PORT = 5900;

/** Parses a display. */
export function parseDisplay(text: string, context: ValueContext): DisplayConfig | undefined {
  const colon = text.indexOf(':');
  const name = colon === -1 ? text : text.slice(0, colon);
  const protocol = parseWord(name.trim(), context, PROTOCOLS);
  if (protocol === undefined) return undefined;
  const items = colon === -1 ? [] : splitItems(text, context, colon + 1);
  if (protocol !== 'vnc') {
    const extra = items[0];
    if (extra === undefined || protocol !== 'none') return { protocol };
    return extra.context.error(`Nothing is expected behind "none".`);
  }
  const display: { port?: number; usesFreePort: boolean; keymap?: string } = { usesFreePort: false };
  for (const { key, value, context: at } of items) {
    if (key === 'use-port-unused') {
      const isOn = value === undefined ? true : parseBoolean(value, at);
      if (isOn === undefined) return undefined;
      display.usesFreePort = isOn;
    } else if (key === 'port') {
      const port = parseInteger(value ?? '', at, 0, MAX_PORT);
      if (port === undefined) return undefined;
      display.port = port;
    } else if (key === 'keymap') {
      if (!KEYMAP.test(value ?? '')) {
        return at.error(`A keymap is a layout such as en-us, not "${printable(value ?? '', 20)}".`);
      }
      display.keymap = value ?? '';
    } else {
      return at.error(`"vnc" takes use-port-unused, keymap= and port=, not "${printable(key, 40)}".`);
    }
  }
  return { protocol, ...display };
}

/** Prints a display so that `parseDisplay` gives it again. */
export function printDisplay(display: DisplayConfig): string {
  if (display.protocol !== 'vnc') return display.protocol;
  const { port, usesFreePort, keymap } = display;
  const words = [
    ...(usesFreePort ? ['use-port-unused'] : []),
    ...(keymap === undefined ? [] : [`keymap=${keymap}`]),
    ...(port === undefined ? [] : [`port=${port}`]),
  ];
  return words.length === 0 ? 'vnc' : `vnc:${words.join(',')}`;
}

/** Gives the number of VNC's display that is meant: what is 5900 or more is the TCP port itself. */
export function vncDisplayNumber(port: number): number {
  return port >= VNC_BASE_PORT ? port - VNC_BASE_PORT : port;
}
