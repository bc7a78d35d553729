/** The value of `nic`: `bridge=xen-br0,mac=00:16:3e:12:34:56,id=0`, or nothing for a card that is as usual. */
import { printable } from '../lib/text.ts';
import { isGroupAddress } from '../model/nic-address.ts';
import type { NicConfig } from '../model/vm.ts';
import { parseInteger, splitItems, type ValueContext } from './values.ts';

const MAX_NICS = 32;
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
/** Interface names of Linux are no longer than 15 bytes. */
const BRIDGE = /^[^\s/:,]{1,15}$/;
const MODEL = /^[a-z0-9][a-z0-9-]{0,30}$/;
const KEYS = 'bridge=, mac=, id= and model=';

/** Parses a card and adds it to those of the lines before. */
export function parseNic(
  text: string,
  context: ValueContext,
  before: readonly NicConfig[] = [],
): readonly NicConfig[] | undefined {
  const nic: { -readonly [F in keyof NicConfig]?: NicConfig[F] } = {};
  let isGood = true;
  for (const { key, value, context: at } of splitItems(text, context)) {
    const isRead = value === undefined ? at.error(`A network card takes ${KEYS}, not "${printable(key, 40)}".`) : true;
    isGood = isRead === true && readItem(nic, key, value ?? '', at, before) && isGood;
  }
  if (!isGood) return undefined;
  const id = nic.id ?? lowestFree(before);
  if (id === undefined) return context.error(`A VM has at most ${MAX_NICS} network cards.`);
  return [...before, { ...nic, id }];
}

/** Prints a card so that `parseNic` gives it again. */
export function printNic({ id, bridge, mac, model }: NicConfig): string {
  const words = Object.entries({ id, bridge, mac, model }).filter(([, value]) => value !== undefined);
  return words.map(([key, value]) => `${key}=${value}`).join(',');
}

/** Reads one word into the card; tells whether it could. */
function readItem(
  nic: { -readonly [F in keyof NicConfig]?: NicConfig[F] },
  key: string,
  value: string,
  context: ValueContext,
  before: readonly NicConfig[],
): boolean {
  const refuse = (message: string) => context.error(message) ?? false;
  switch (key) {
    case 'id': {
      const id = parseInteger(value, context, 0, MAX_NICS - 1);
      if (id === undefined) return false;
      if (before.some((other) => other.id === id)) return refuse(`There are two network cards with the id ${id}.`);
      nic.id = id;
      return true;
    }
    case 'bridge':
      if (!BRIDGE.test(value)) return refuse(`"${printable(value, 40)}" cannot be the name of a bridge.`);
      nic.bridge = value;
      return true;
    case 'mac':
      return readMac(nic, value, context);
    case 'model':
      if (!MODEL.test(value)) return refuse(`"${printable(value, 40)}" cannot be the model of a network card.`);
      nic.model = value;
      return true;
    case 'network':
    case 'wireless':
    case 'backend-domid':
      context.warn(`"${key}" of a network card is ignored: networks are told by their bridge alone.`);
      return true;
    default:
      return refuse(`A network card takes ${KEYS}, not "${printable(key, 40)}".`);
  }
}

function readMac(nic: { mac?: string }, value: string, context: ValueContext): boolean {
  if (value === '' || value === 'vm') return true;
  if (value === 'random') {
    context.warn('The address is derived from the VM and not random: a guest would find another card at each start.');
    return true;
  }
  const mac = value.toLowerCase();
  if (!MAC.test(mac)) {
    context.error(`A hardware address is six bytes such as 00:16:3e:12:34:56, not "${printable(value, 40)}".`);
    return false;
  }
  if (isGroupAddress(mac)) {
    context.warn(`${mac} is the address of a group, which no single card can have: most guests take another.`);
  }
  nic.mac = mac;
  return true;
}

function lowestFree(nics: readonly NicConfig[]): number | undefined {
  const taken = new Set(nics.map(({ id }) => id));
  return Array.from({ length: MAX_NICS }, (_, id) => id).find((id) => !taken.has(id));
}
