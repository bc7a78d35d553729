/**
 * The table of keys of a VM's config file: what each is called, takes, means and defaults to. The parser, the printer
 * and the reference page come from it. Keys of xenvm that Usher does not honour yet are listed at the end.
 */
import { isFault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import { parseUuid, parseVmName } from '../model/ids.ts';
import { DEATH_ACTIONS, type DeathAction, DRIVER_NAMES, type Startup, VIRT_MODES, type VmConfig } from '../model/vm.ts';
import { parseDisk, printDisk } from './disk.ts';
import { parseControllers, printControllers } from './usbctrl.ts';
import { parseInteger, parsePath, parseWord, type ValueContext } from './values.ts';

/** What a file says of a VM: settings that it does not name are absent. */
export type VmSettings = { readonly [F in keyof VmConfig]?: VmConfig[F] };
/** Settings while a file is being read. */
export type VmDraft = { -readonly [F in keyof VmConfig]?: VmConfig[F] | undefined };

export interface VmKey {
  readonly key: string;
  /** Other spellings: by xenvm's readme or its code. */
  readonly aliases: readonly string[];
  /** What the value is, for people. */
  readonly takes: string;
  /** What holds without the key, for people. */
  readonly otherwise: string;
  readonly meaning: string;
  /** Each line adds to the ones before; otherwise the last line counts. */
  readonly isList: boolean;
  /** Reads a value into the draft; what is wrong goes to the context. */
  read(draft: VmDraft, text: string, context: ValueContext): void;
  /** Gives the values that say what the config says; one a line. */
  print(config: VmSettings): readonly string[];
}

interface KeySpec<F extends keyof VmConfig> {
  readonly key: string;
  readonly aliases?: readonly string[];
  readonly takes: string;
  readonly otherwise: string;
  readonly meaning: string;
  readonly isList?: boolean;
  /** An empty value means the same as no line at all. */
  readonly canBeEmpty?: boolean;
  readonly parse: (text: string, context: ValueContext, before: VmConfig[F] | undefined) => VmConfig[F] | undefined;
  readonly print: (value: NonNullable<VmConfig[F]>) => string | readonly string[];
}

function row<F extends keyof VmConfig>(field: F, spec: KeySpec<F>): VmKey {
  const { key, aliases = [], takes, otherwise, meaning, isList = false, canBeEmpty = false, parse, print } = spec;
  return {
    ...{ key, aliases, takes, otherwise, meaning, isList },
    read(draft, text, context) {
      if (text !== '') {
        const value = parse(text, context, draft[field]);
        if (value !== undefined) draft[field] = value;
      } else if (canBeEmpty) draft[field] = undefined;
      else context.error(`"${key}" needs a value: ${takes}.`);
    },
    print(config) {
      const value = config[field];
      if (value === undefined || value === null) return [];
      const printed = print(value as NonNullable<VmConfig[F]>);
      return typeof printed === 'string' ? [printed] : printed;
    },
  };
}

const MAX_MEMORY_MIB = 16 * 1024 * 1024;
const MAX_VCPUS = 512;

/** What holds when a file does not say otherwise. */
export const DEFAULT_MEMORY_MIB = 256;
export const DEFAULT_DEATH_ACTIONS = { onCrash: 'destroy', onHalt: 'destroy', onReboot: 'restart' } as const;

const deathKey = (
  field: 'onCrash' | 'onHalt' | 'onReboot',
  key: string,
  when: string,
  aliases: readonly string[] = [],
) =>
  row(field, {
    key,
    aliases,
    takes: 'destroy, restart (or reboot) or preserve',
    otherwise: DEFAULT_DEATH_ACTIONS[field],
    meaning: `What is done when the guest ${when} by itself: gone, started again from its file, or left for inspection.`,
    parse: (text, context) => parseWord<DeathAction>(text, context, DEATH_ACTIONS, { reboot: 'restart' }),
    print: (value) => value,
  });

/** Every key that is honoured, in the order in which it is printed. */
export const VM_KEYS: readonly VmKey[] = [
  row('uuid', {
    key: 'uuid',
    takes: 'a UUID',
    otherwise: 'made up once, and kept in the inventory',
    meaning: "The VM's stable key: its socket, its place in the inventory.",
    parse: (text, context) => orError(context, () => parseUuid(text)),
    print: (value) => value,
  }),
  row('name', {
    key: 'name',
    takes: 'a letter, then up to 62 letters, digits, dots, underscores or dashes',
    otherwise: "the file's name without its ending",
    meaning: 'What people call the VM.',
    parse: (text, context) => orError(context, () => parseVmName(text)),
    print: (value) => value,
  }),
  row('driver', {
    key: 'driver',
    takes: 'xen, qemu or simulator',
    otherwise: "the daemon's setting defaultDriver",
    meaning: "The hypervisor that runs the VM. Usher's own key.",
    parse: (text, context) => parseWord(text, context, DRIVER_NAMES),
    print: (value) => value,
  }),
  row('virtMode', {
    key: 'virtmode',
    takes: 'pv, pvh or hvm',
    otherwise: 'pv with a kernel, hvm without',
    meaning: "The kind of guest on Xen; with other drivers it is always hvm. Usher's own key.",
    parse: (text, context) => parseWord(text, context, VIRT_MODES),
    print: (value) => value ?? [],
  }),
  row('virtMode', {
    key: 'type',
    takes: '"pv", "pvh" or "hvm"',
    otherwise: 'see virtmode',
    meaning: 'The same as virtmode, as xl.cfg(5) writes it.',
    parse: (text, context) => parseWord(text.replace(/^(["'])(.*)\1$/, '$2'), context, VIRT_MODES),
    print: () => [],
  }),
  row('virtMode', {
    key: 'hvm',
    takes: 'true or false',
    otherwise: 'see virtmode',
    meaning: 'As xenvm writes it: true is virtmode hvm, false is pv, or pvh if virtmode says so.',
    parse(text, context, before) {
      const word = parseWord(text, context, ['true', 'false']);
      if (word === undefined) return undefined;
      return word === 'true' ? 'hvm' : before === 'pvh' ? 'pvh' : 'pv';
    },
    print: () => [],
  }),
  row('kernel', {
    key: 'kernel',
    takes: 'a path',
    otherwise: 'the VM boots from its disks',
    meaning: 'The kernel to boot.',
    canBeEmpty: true,
    parse: parsePath,
    print: (value) => value ?? [],
  }),
  row('initrd', {
    key: 'initrd',
    takes: 'a path',
    otherwise: 'none',
    meaning: 'The initial RAM disk of the kernel.',
    canBeEmpty: true,
    parse: parsePath,
    print: (value) => value ?? [],
  }),
  row('cmdline', {
    key: 'cmdline',
    takes: 'words, up to the end of the line',
    otherwise: 'empty',
    meaning: 'The command line of the kernel.',
    canBeEmpty: true,
    parse: (text) => text,
    print: (value) => value ?? [],
  }),
  row('memoryMiB', {
    key: 'memory',
    takes: `MiB, 1 to ${MAX_MEMORY_MIB}`,
    otherwise: String(DEFAULT_MEMORY_MIB),
    meaning: 'The memory of the guest.',
    parse: (text, context) => parseInteger(text, context, 1, MAX_MEMORY_MIB),
    print: String,
  }),
  row('vcpus', {
    key: 'vcpus',
    takes: `a number, 1 to ${MAX_VCPUS}`,
    otherwise: '1',
    meaning: 'The virtual CPUs of the guest.',
    parse: (text, context) => parseInteger(text, context, 1, MAX_VCPUS),
    print: String,
  }),
  row('disks', {
    key: 'disk',
    takes: 'path:type:target:mode:kind; type phy, file, aio, qcow or vhd; mode r or w; kind disk or cdrom',
    otherwise: 'none',
    meaning: 'A disk, such as /vm/root.img:file:hda:w:disk. One a line.',
    isList: true,
    parse(text, context, before = []) {
      const disk = parseDisk(text, context);
      if (disk === undefined) return undefined;
      if (!before.some((other) => other.target === disk.target)) return [...before, disk];
      return context.error(`There are two disks with the target ${disk.target}.`);
    },
    print: (value) => value.map(printDisk),
  }),
  row('serial', {
    key: 'serial',
    takes: 'pty or tcp:ADDRESS:PORT',
    otherwise: "the VM's console socket and log",
    meaning: 'Where the first serial port of the guest goes besides.',
    canBeEmpty: true,
    parse: parseSerial,
    print: (value) => value ?? [],
  }),
  row('usbControllers', {
    key: 'usbctrl',
    takes: 'type=auto|qusb|pv|devicemodel,version=1|2|3,ports=N, as in xl.cfg(5), or none',
    otherwise: 'one of version 3 with 8 ports',
    meaning:
      'A virtual USB controller. One a line, or a list in brackets. devicemodel is emulated: version 1 has 2 ports, 2 has 6, 3 up to 15. qusb (version 1 or 2, up to 31 ports) is for the Xen guests that have no emulated devices, pv and pvh. auto is what fits the guest.',
    isList: true,
    parse: parseControllers,
    print: printControllers,
  }),
  row('startup', {
    key: 'startup',
    takes: 'started, paused, shutdown or restore FILE',
    otherwise: 'started',
    meaning:
      'What a start makes of the VM: it runs, it is left paused, or it goes on from a save file, which is kept. With shutdown it is not started with the host.',
    parse: parseStartup,
    print: (value) => (value.do === 'restore' ? `restore ${value.file}` : value.do),
  }),
  deathKey('onCrash', 'on_crash', 'crashes'),
  deathKey('onHalt', 'on_halt', 'powers off'),
  deathKey('onReboot', 'on_reboot', 'reboots', ['on_restart']),
];

/** Keys that xenvm knows, in both of its spellings, and Usher does not honour yet. */
export const KEYS_NOT_HONOURED: ReadonlySet<string> = new Set(
  `acpi acpi-pt apic boot cdrom-pt cores-per-socket cpuid cpus-affinity debug disable-migrate diskinfo-pt display
  extra-hvm extra-local-watch extra-maxmem extra-vm-watch flask-label hap hpet inject-sci memory-max nested nic
  no_mem_check notify nx oem-features output pae passthrough-io passthrough-mmio pci pci-msitranslate
  pci-power-management pci-script platform power-management qemu-dm-path qemu-dm-timeout qemu-pv smbios-oem-type-pt
  smbios-oem-types-pt smbios-pt sound stubdom stubdom-cmdline stubdom-initrd stubdom-kernel stubdom-memory time-offset
  timeoffset timer-mode usb v4v vfb videoram vif viridian vkbd vpt-align vsnd vtpm-backend vtpm-instance
  xci-cpuid-signature xci-service`.split(/\s+/),
);

function parseSerial(text: string, context: ValueContext): string | undefined {
  if (text === 'pty') return text;
  const port = Number(/^tcp:[^\s:,][^\s,]*:(\d{1,5})$/.exec(text)?.[1]);
  if (port >= 1 && port <= 65_535) return text;
  return context.error(`"serial" is pty or tcp:ADDRESS:PORT, not "${printable(text, 60)}".`);
}

const STARTUP_WORDS = { start: 'started', poweroff: 'shutdown', 'restore-del': 'restore' } as const;

function parseStartup(text: string, context: ValueContext): Startup | undefined {
  const space = text.search(/\s/);
  const word = space === -1 ? text : text.slice(0, space);
  const rest = space === -1 ? '' : text.slice(space).trim();
  const startup = parseWord(word, context, ['started', 'paused', 'shutdown', 'restore'], STARTUP_WORDS);
  if (startup === undefined) return undefined;
  if (startup !== 'restore') {
    if (rest === '') return { do: startup };
    return context.error(`Nothing is expected behind "${word}".`, text.length - rest.length);
  }
  if (word === 'restore-del') context.warn('The file is kept after it was restored: Usher removes none by itself.');
  const file = parsePath(rest, { ...context, key: 'startup restore' });
  return file === undefined ? undefined : { do: 'restore', file };
}

/** The model's own parsers throw; in a file their sentence is a finding like others. */
function orError<T>(context: ValueContext, parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!isFault(error)) throw error;
    return context.error(error.message);
  }
}
