/** Keys that say who a VM is and what it boots: name, kind, kernel, memory, processors. */
import { basename } from 'node:path';
import { isFault } from '../lib/fault.ts';
import { parseUuid, parseVmName } from '../model/ids.ts';
import { DRIVER_NAMES, VIRT_MODES } from '../model/vm.ts';
import { parseBoolean, parsePath, parseWord, type ValueContext } from './values.ts';
import {
  BOOLEAN_TAKES,
  depends,
  type Honours,
  honoured,
  hvmOnly,
  ignored,
  integerRow,
  row,
  SIMULATED,
  type VmKey,
} from './vm-key.ts';

const MAX_MEMORY_MIB = 16 * 1024 * 1024;
const MAX_VCPUS = 512;

/** What holds when a file does not say otherwise. */
export const DEFAULT_MEMORY_MIB = 256;

const everywhere = (says: string): Honours => {
  const rule = honoured(says);
  return { xen: rule, qemu: rule, simulator: rule };
};

/** Only Xen has kinds of guest. */
const kindHonours: Honours = (() => {
  const other = depends('a guest is always hvm; other values are ignored', (text) =>
    /^["']?hvm["']?$/.test(text) || ['true', 'yes', 'y', '1'].includes(text)
      ? { does: 'honoured', says: 'the guest is hvm' }
      : { does: 'ignored', why: 'its guests are always hvm' },
  );
  return { xen: honoured('the kind of the domain (xl: type)'), qemu: other, simulator: other };
})();

const withKernel = (says: string) =>
  depends(`${says}; ignored without a kernel`, (_text, { draft }) =>
    draft.kernel === undefined ? { does: 'ignored', why: 'there is no "kernel"' } : { does: 'honoured', says },
  );

export const GUEST_KEYS: readonly VmKey[] = [
  row('uuid', {
    key: 'uuid',
    type: 'word',
    takes: 'a UUID',
    otherwise: 'made up once, and kept in the inventory',
    meaning: "The VM's stable key: its socket, its place in the inventory.",
    honours: everywhere('the uuid of the domain'),
    parse: (text, context) => orError(context, () => parseUuid(text)),
    print: (value) => value,
  }),
  row('name', {
    key: 'name',
    type: 'word',
    takes: 'a letter, then up to 62 letters, digits, dots, underscores or dashes',
    otherwise: "the file's name without its ending",
    meaning: 'What people call the VM.',
    honours: everywhere('the name of the domain'),
    parse: (text, context) => orError(context, () => parseVmName(text)),
    print: (value) => value,
  }),
  row('driver', {
    key: 'driver',
    type: 'word',
    takes: 'xen, qemu or simulator',
    otherwise: "the daemon's setting defaultDriver",
    meaning: "The hypervisor that runs the VM. Usher's own key.",
    honours: everywhere('chooses the driver'),
    parse: (text, context) => parseWord(text, context, DRIVER_NAMES),
    print: (value) => value,
  }),
  row('virtMode', {
    key: 'virtmode',
    type: 'word',
    takes: 'pv, pvh or hvm',
    otherwise: 'pv with a kernel, hvm without',
    meaning: "The kind of guest on Xen; with other drivers it is always hvm. Usher's own key.",
    honours: kindHonours,
    parse: (text, context) => parseWord(text, context, VIRT_MODES),
    print: (value) => value ?? [],
  }),
  row('virtMode', {
    key: 'type',
    type: 'word',
    takes: '"pv", "pvh" or "hvm"',
    otherwise: 'see virtmode',
    meaning: 'The same as virtmode, as xl.cfg(5) writes it.',
    honours: kindHonours,
    parse: (text, context) => parseWord(text.replace(/^(["'])(.*)\1$/, '$2'), context, VIRT_MODES),
    print: () => [],
    tell: ({ virtMode }) => (virtMode === undefined ? [] : [virtMode]),
  }),
  row('virtMode', {
    key: 'hvm',
    type: 'boolean',
    takes: BOOLEAN_TAKES,
    otherwise: 'see virtmode',
    meaning: 'As xenvm writes it: true is virtmode hvm, false is pv, or pvh if virtmode says so.',
    honours: kindHonours,
    parse(text, context, before) {
      const isHvm = parseBoolean(text, context);
      if (isHvm === undefined) return undefined;
      return isHvm ? 'hvm' : before === 'pvh' ? 'pvh' : 'pv';
    },
    print: () => [],
    tell: ({ virtMode }) => (virtMode === undefined ? [] : [String(virtMode === 'hvm')]),
  }),
  row('kernel', {
    key: 'kernel',
    type: 'path',
    takes: 'a path',
    otherwise: 'the VM boots from its disks',
    meaning: 'The kernel to boot. Xen’s own hvmloader, which older files name for HVM guests, is the same as no line.',
    empty: 'as no line',
    honours: { xen: honoured('xl: kernel'), qemu: honoured('-kernel'), simulator: SIMULATED },
    parse: (text, context) => {
      const path = parsePath(text, context);
      return path !== undefined && basename(path) === 'hvmloader' ? undefined : path;
    },
    print: (value) => value ?? [],
  }),
  row('initrd', {
    key: 'initrd',
    type: 'path',
    takes: 'a path',
    otherwise: 'none',
    meaning: 'The initial RAM disk of the kernel.',
    empty: 'as no line',
    honours: { xen: withKernel('xl: ramdisk'), qemu: withKernel('-initrd'), simulator: withKernel('kept') },
    parse: parsePath,
    print: (value) => value ?? [],
  }),
  row('cmdline', {
    key: 'cmdline',
    type: 'text',
    takes: 'words, up to the end of the line',
    otherwise: 'empty',
    meaning: 'The command line of the kernel.',
    empty: 'as no line',
    honours: { xen: withKernel('xl: cmdline'), qemu: withKernel('-append'), simulator: withKernel('kept') },
    parse: (text) => text,
    print: (value) => value ?? [],
  }),
  integerRow('memoryMiB', {
    key: 'memory',
    unit: 'MiB',
    ...{ min: 1, max: MAX_MEMORY_MIB },
    otherwise: String(DEFAULT_MEMORY_MIB),
    meaning: 'The memory of the guest.',
    honours: { xen: honoured('xl: memory'), qemu: honoured('-m'), simulator: SIMULATED },
  }),
  integerRow('memoryMaxMiB', {
    key: 'memory-max',
    unit: 'MiB',
    ...{ min: 1, max: MAX_MEMORY_MIB },
    otherwise: 'as memory',
    meaning: 'How far the memory of the guest may be raised while it runs, by set-mem-target.',
    honours: {
      xen: honoured('xl: maxmem'),
      qemu: depends(
        '-m; the guest starts with it, and its balloon takes it down to memory; ignored below memory',
        (text, { draft }) =>
          Number(text) >= (draft.memoryMiB ?? DEFAULT_MEMORY_MIB)
            ? { does: 'honoured', says: '-m, and a balloon that takes it down to memory' }
            : { does: 'ignored', why: 'it is less than memory' },
      ),
      simulator: SIMULATED,
    },
  }),
  integerRow('vcpus', {
    key: 'vcpus',
    ...{ min: 1, max: MAX_VCPUS },
    otherwise: '1',
    meaning: 'The virtual CPUs of the guest.',
    honours: { xen: honoured('xl: vcpus'), qemu: honoured('-smp cpus='), simulator: SIMULATED },
  }),
  integerRow('coresPerSocket', {
    key: 'cores-per-socket',
    ...{ min: 1, max: MAX_VCPUS },
    otherwise: "the hypervisor's own choice",
    meaning: 'How many virtual CPUs the guest sees in one package.',
    honours: {
      xen: ignored('xl.cfg(5) has no such setting'),
      qemu: depends('-smp cores=; ignored where it does not divide vcpus', (text, { draft }) =>
        (draft.vcpus ?? 1) % Number(text) === 0
          ? { does: 'honoured', says: '-smp cores=' }
          : { does: 'ignored', why: `${draft.vcpus ?? 1} vcpus cannot be divided into packages of ${text}` },
      ),
      simulator: SIMULATED,
    },
  }),
  row('cpuid', {
    key: 'cpuid',
    type: 'text',
    takes: 'leaf:register=bits, as in xl.cfg(5)',
    otherwise: 'none',
    meaning: 'A policy for what the CPUID instruction tells the guest. One a line.',
    isList: true,
    honours: {
      xen: hvmOnly(honoured('xl: cpuid'), 'no CPUID policy that xl would write'),
      qemu: ignored('QEMU takes features by their names: see extra-hvm'),
      simulator: SIMULATED,
    },
    parse(text, context, before = []) {
      if (/^[0-9a-fx,+:=a-zA-Z_]{1,400}$/.test(text) && text.includes(':')) return [...before, text];
      return context.error('A CPUID policy is leaf:register=bits, such as "1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxx0xxxx".');
    },
    print: (value) => value,
  }),
];

/** The model's own parsers throw; in a file their sentence is a finding like others. */
function orError<T>(context: ValueContext, parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!isFault(error)) throw error;
    return context.error(error.message);
  }
}
