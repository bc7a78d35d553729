/** Lists of disks, network interfaces and PCI devices as xenvm prints them, out of the values of a config file. Pure. */

const DISK = /^(.*):([a-z0-9]+):((?:hd|sd|xvd)[a-z]+):([rw]):(disk|cdrom)(?::.*)?$/;
const PCI = /^(?:(\d+),)?(?:bind,)?(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])(?:,.*)?$/i;

/** Lists disks: a line each. A value of another form is told as it is. */
export function diskLines(values: readonly string[]): string[] {
  return values.map((value) => {
    const [, path, type, target, mode, kind] = DISK.exec(value) ?? [];
    return path === undefined
      ? value
      : `physpath: ${path}, type: ${type}, virtpath: ${target}, mode: ${mode}, devtype: ${kind}`;
  });
}

/** Lists interfaces: a line each, with the lowest number that is free where none is given. */
export function nicLines(values: readonly string[]): string[] {
  const rows = values.map((value) => new Map(value.split(',').flatMap((part) => pairOf(part))));
  const taken = new Set(rows.flatMap((row) => row.get('id') ?? []));
  return rows.map((row) => {
    const id = row.get('id') ?? lowestFree(taken);
    const rest = [...row].filter(([name]) => !['id', 'network', 'mac'].includes(name));
    const parts = [['id', id], ['network', row.get('network') ?? ''], ['mac', row.get('mac') ?? ''], ...rest];
    return parts.map(([name, value]) => `${name}: ${value}`).join(', ');
  });
}

/** Lists PCI devices: a line with the number, and one with the address. */
export function pciLines(values: readonly string[]): string[] {
  return values.flatMap((value, index) => {
    const [, id, domain = '0000', bus, slot, fn] = PCI.exec(value) ?? [];
    const address = bus === undefined ? `  ${value}` : `  domain:${domain}, bus:${bus}, slot: ${slot}, func: ${fn}`;
    return [`id:${id ?? index}`, address];
  });
}

function pairOf(part: string): [string, string][] {
  const equals = part.indexOf('=');
  return equals <= 0 ? [] : [[part.slice(0, equals).trim(), part.slice(equals + 1).trim()]];
}

function lowestFree(taken: Set<string>): string {
  for (let id = 0; ; id++) {
    if (taken.has(String(id))) continue;
    taken.add(String(id));
    return String(id);
  }
}
