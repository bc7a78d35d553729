/** The value of `usbctrl`, in the syntax of xl.cfg(5): `version=3,ports=15`, or a bracketed list of such strings. */
import { printable } from '../lib/text.ts';
import { CONTROLLER_PORTS, type UsbControllerConfig } from '../model/vm.ts';
import { parseInteger, parseWord, type ValueContext } from './values.ts';

/** What a VM has whose file says nothing of it. */
export const DEFAULT_CONTROLLER: UsbControllerConfig = { type: 'auto', version: 3, ports: CONTROLLER_PORTS[3].usual };

/** PV controllers have up to 31 ports, 8 usually (xl.cfg(5)). */
const PV_PORTS = { max: 31, usual: 8 } as const;
const MAX_CONTROLLERS = 16;

/** Parses one line's controllers and adds them to those of the lines before; `none` stands for none at all. */
export function parseControllers(
  text: string,
  context: ValueContext,
  before: readonly UsbControllerConfig[] = [],
): readonly UsbControllerConfig[] | undefined {
  if (text === 'none' || /^\[\s*\]$/.test(text)) return before;
  const items = text.startsWith('[') ? splitList(text, context) : [{ text, offset: 0 }];
  const controllers = items?.map((item) =>
    parseController(item.text, {
      ...context,
      error: (message, offset = 0) => context.error(message, offset + item.offset),
    }),
  );
  const added = controllers?.filter((controller) => controller !== undefined);
  if (added === undefined || added.length !== items?.length) return undefined;
  if (before.length + added.length <= MAX_CONTROLLERS) return [...before, ...added];
  return context.error(`A VM has at most ${MAX_CONTROLLERS} USB controllers.`);
}

/** Prints controllers so that `parseControllers` gives them again, one value a line. */
export function printControllers(controllers: readonly UsbControllerConfig[]): string[] {
  if (controllers.length === 0) return ['none'];
  return controllers.map(({ type, version, ports }) => `type=${type},version=${version},ports=${ports}`);
}

function parseController(text: string, context: ValueContext): UsbControllerConfig | undefined {
  const words = new Map<string, { readonly value: string; readonly context: ValueContext }>();
  let offset = 0;
  for (const part of text.split(',')) {
    const at = offset + (part.length - part.trimStart().length);
    offset += part.length + 1;
    const [key = '', value] = part.split('=', 2).map((word) => word.trim());
    if (value === undefined || !['type', 'version', 'ports'].includes(key)) {
      const shown = printable(part.trim(), 40);
      return context.error(
        `"usbctrl" takes type=, version= and ports=, such as "version=3,ports=8", not "${shown}".`,
        at,
      );
    }
    if (words.has(key)) return context.error(`"${key}" stands twice in one controller.`, at);
    words.set(key, {
      value,
      context: { ...context, key: `usbctrl ${key}`, error: (message) => context.error(message, at) },
    });
  }
  const read = <T>(key: string, fallback: T, parse: (value: string, context: ValueContext) => T | undefined) => {
    const word = words.get(key);
    return word === undefined ? fallback : parse(word.value, word.context);
  };
  const type = read('type', 'auto' as const, (value, at) =>
    parseWord(value, at, ['auto', 'qusb', 'pv', 'devicemodel'] as const),
  );
  if (type === undefined) return undefined;
  const isEmulated = type === 'auto' || type === 'devicemodel';
  // xl's own default is 2; a controller that takes devices of every speed serves people better.
  const version = read('version', isEmulated ? 3 : 2, (value, at) => parseInteger(value, at, 1, isEmulated ? 3 : 2));
  if (version !== 1 && version !== 2 && version !== 3) return undefined;
  const { max, usual } = isEmulated ? CONTROLLER_PORTS[version] : PV_PORTS;
  const isFixed = isEmulated && version !== 3;
  const ports = read('ports', usual, (value, at) => {
    const count = parseInteger(value, at, 1, isFixed ? PV_PORTS.max : max);
    if (!isFixed || count === undefined || count === max) return count;
    return at.error(`A USB controller of version ${version} always has ${max} ports.`);
  });
  return ports === undefined ? undefined : { type, version, ports };
}

/** Splits `['a', "b"]` into its strings, each with where it begins. */
function splitList(
  text: string,
  context: ValueContext,
): readonly { readonly text: string; readonly offset: number }[] | undefined {
  const items: { text: string; offset: number }[] = [];
  const item = /\s*(?:'([^']*)'|"([^"]*)")\s*(,|\]\s*$)/y;
  item.lastIndex = 1;
  for (;;) {
    const at = item.lastIndex;
    const match = item.exec(text);
    if (match === null) {
      return context.error(`A list of controllers is ['version=3,ports=8', 'version=2'], with quotes and commas.`, at);
    }
    items.push({ text: match[1] ?? match[2] ?? '', offset: match.index + match[0].search(/['"]/) + 1 });
    if (match[3] !== ',') return items;
    if (/^\s*\]\s*$/.test(text.slice(item.lastIndex))) return items; // A comma behind the last one is fine in xl.
  }
}
