/** The value of `pci`: `devid,bind,domain:bus:device.function`, numbers of the address in hex as everywhere. */
import { printable } from '../lib/text.ts';
import type { PciConfig } from '../model/vm.ts';
import { parseBoolean, parseInteger, splitItems, type ValueContext } from './values.ts';

const MAX_DEVICES = 32;
const MAX_ID = 255;
const ADDRESS = /^(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])$/i;
const OPTIONS: ReadonlyMap<string, 'msiTranslate' | 'powerManagement'> = new Map([
  ['msitranslate', 'msiTranslate'],
  ['power_mgmt', 'powerManagement'],
]);
const FORM = 'A PCI device is devid,bind,domain:bus:device.function, such as "0,bind,0000:03:00.0"';

/** Parses a device and adds it to those of the lines before. */
export function parsePci(
  text: string,
  context: ValueContext,
  before: readonly PciConfig[] = [],
): readonly PciConfig[] | undefined {
  const items = splitItems(text, context);
  const shown = `"${printable(text, 60)}"`;
  const isNumber = (word: string | undefined) => word !== undefined && /^\d+$/.test(word);
  const first = items[0]?.value === undefined && isNumber(items[0]?.key) ? items.shift() : undefined;
  const id = first === undefined ? before.length : parseInteger(first.key, { ...context, key: 'pci id' }, 0, MAX_ID);
  const isSeized = items[0]?.key === 'bind' && items[0].value === undefined;
  if (isSeized) items.shift();
  const place = items.shift();
  const match = place?.value === undefined ? ADDRESS.exec(place?.key ?? '') : null;
  if (match === null) return context.error(`${FORM}, not ${shown}.`);
  const [domain = 0, bus = 0, device = 0, fn = 0] = match.slice(1).map((digits) => Number.parseInt(digits ?? '0', 16));
  const options: { msiTranslate?: boolean; powerManagement?: boolean } = {};
  for (const { key, value = '', context: at } of items) {
    const field = OPTIONS.get(key);
    if (field !== undefined) {
      const isOn = parseBoolean(value, at);
      if (isOn === undefined) return undefined;
      options[field] = isOn;
    } else if (key === 'guest_slot' || key === 'vdevfn') {
      at.warn(`"${key}" is ignored: the hypervisor chooses the place in the guest.`);
    } else return at.error(`A PCI device takes msitranslate= and power_mgmt=, not "${printable(key, 40)}".`);
  }
  if (id === undefined) return undefined;
  const found: PciConfig = { id, domain, bus, device, function: fn, isSeized, ...options };
  if (before.some((other) => pciAddress(other) === pciAddress(found))) {
    return context.error(`The PCI device ${pciAddress(found)} is there twice.`);
  }
  if (before.length === MAX_DEVICES) return context.error(`A VM has at most ${MAX_DEVICES} PCI devices.`);
  return [...before, found];
}

/** Prints a device so that `parsePci` gives it again. */
export function printPci(pci: PciConfig): string {
  const { id, isSeized, msiTranslate, powerManagement } = pci;
  return [
    ...[String(id), ...(isSeized ? ['bind'] : []), pciAddress(pci)],
    ...(msiTranslate === undefined ? [] : [`msitranslate=${Number(msiTranslate)}`]),
    ...(powerManagement === undefined ? [] : [`power_mgmt=${Number(powerManagement)}`]),
  ].join(',');
}

/** Gives the address as Linux writes it: `0000:03:00.0`. */
export function pciAddress({ domain, bus, device, function: fn }: PciConfig): string {
  const hex = (number: number, width: number) => number.toString(16).padStart(width, '0');
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(device, 2)}.${fn}`;
}
