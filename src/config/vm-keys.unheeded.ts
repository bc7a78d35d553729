/**
 * Keys of xenvm that no driver can do anything with, each with the reason. Their values are checked and kept, so that a
 * file means the same when it is printed.
 */
import { parseBoolean, parseInteger, type ValueContext } from './values.ts';
import { BOOLEAN_TAKES, type HonourRule, ignored, type KeyType, lacking, SIMULATED, type VmKey } from './vm-key.ts';

interface Said {
  readonly type?: KeyType;
  readonly isList?: boolean;
  readonly otherwise?: string;
  /** Of an integer. */
  readonly max?: number;
}

const OPENXT = 'only OpenXT has it';
const NO_OPENXT_DEVICE = 'it is a device of OpenXT alone';
const NO_SUBDOMAIN = 'the device model always runs in the host';

/** `meaning`, then why nothing is done. */
function unheeded(key: string, meaning: string, why: string, said: Said = {}): VmKey {
  const { type = 'text', isList = false, otherwise = 'none', max = 2 ** 31 } = said;
  const rule: HonourRule = type === 'text' ? ignored(why) : lacking(why);
  const valuesOf = (values: Readonly<Record<string, readonly string[]>> | undefined): readonly string[] =>
    values !== undefined && Object.hasOwn(values, key) ? (values[key] ?? []) : [];
  return {
    ...{ key, aliases: [], type, takes: takesOf(type), otherwise, meaning, isList },
    honours: { xen: rule, qemu: rule, simulator: SIMULATED },
    read(draft, text, context) {
      const value = parseLoosely(type, max, text, context);
      if (value === undefined) return;
      draft.unheeded = { ...draft.unheeded, [key]: isList ? [...valuesOf(draft.unheeded), value] : [value] };
    },
    print: ({ unheeded: values }) => valuesOf(values),
  };
}

function takesOf(type: KeyType): string {
  return { boolean: BOOLEAN_TAKES, integer: 'a whole number', text: 'any text', word: 'a word', path: 'a path' }[type];
}

function parseLoosely(type: KeyType, max: number, text: string, context: ValueContext): string | undefined {
  if (type === 'boolean') return parseBoolean(text, context)?.toString();
  if (type === 'integer') return parseInteger(text, context, max < 2 ** 31 ? 0 : -max, max)?.toString();
  return text;
}

export const UNHEEDED_KEYS: readonly VmKey[] = [
  unheeded(
    'diskinfo-pt',
    "Whether the guest finds the maker and serial number of the host's disk.",
    'the device models of xl and Usher have no such thing',
    { type: 'boolean', otherwise: 'false' },
  ),
  {
    ...unheeded(
      'power-management',
      'Whether the guest manages the power of the real machine: 1 as far as it goes, 2 not.',
      'a guest does not get at the power of the host',
      { type: 'integer', otherwise: '2', max: 2 },
    ),
    takes: '1 or 2',
    honours: powerHonours(),
  },
  unheeded(
    'oem-features',
    "Whether features of the host's maker are passed through.",
    `${OPENXT}; smbios-pt and acpi-pt pass tables through`,
    { type: 'integer', otherwise: '0' },
  ),
  {
    ...unheeded(
      'inject-sci',
      'Whether events such as the closing of a lid or the power button reach the guest.',
      'QEMU has no such thing',
      { type: 'integer', otherwise: '0' },
    ),
    honours: {
      xen: lacking('neither Xen nor xl has such a thing'),
      qemu: lacking('QEMU has no such thing'),
      simulator: SIMULATED,
    },
  },
  unheeded('platform', "A word below the domain's xenstore node platform.", 'xl writes these nodes itself', {
    isList: true,
  }),
  unheeded('cpus-affinity', 'The host CPUs that a virtual CPU runs on.', 'Usher leaves that to the scheduler', {
    isList: true,
  }),
  unheeded('extra-local-watch', 'A xenstore node whose changes are told.', 'Usher tells events of its own', {
    isList: true,
  }),
  unheeded('extra-vm-watch', 'A xenstore node of the VM whose changes are told.', 'Usher tells events of its own', {
    isList: true,
  }),
  unheeded(
    'passthrough-io',
    'A range of I/O ports that the guest gets.',
    'Usher hands on whole devices only: see pci',
    {
      isList: true,
    },
  ),
  unheeded('passthrough-mmio', 'A range of memory that the guest gets.', 'Usher hands on whole devices only: see pci', {
    isList: true,
  }),
  unheeded('output', 'Where the log of debug is written.', 'the log is always in a folder of Usher'),
  unheeded('sound', 'The sound card.', 'Usher has no sound; extra-hvm can add a card'),
  unheeded(
    'cdrom-pt',
    "Whether the guest gets the host's CD drive itself.",
    'a drive is handed on as a disk or by USB',
  ),
  unheeded('pci-script', 'A program that is run for each PCI device.', 'Usher runs no programs that a file names'),
  unheeded('flask-label', 'The label of the security policy.', 'Usher knows no labels'),
  unheeded('qemu-dm-path', 'The device model.', 'Usher runs the one of the host'),
  unheeded(
    'qemu-dm-timeout',
    'How long the device model is waited for, in seconds.',
    'Usher has deadlines of its own',
    {
      type: 'integer',
    },
  ),
  unheeded('stubdom', 'The uuid of a domain that the device model lives in.', NO_SUBDOMAIN),
  unheeded('stubdom-memory', 'Its memory.', NO_SUBDOMAIN, { type: 'integer' }),
  unheeded('stubdom-kernel', 'Its kernel.', NO_SUBDOMAIN),
  unheeded('stubdom-initrd', 'Its initial RAM disk.', NO_SUBDOMAIN),
  unheeded('stubdom-cmdline', 'Its command line.', NO_SUBDOMAIN),
  unheeded('vtpm-backend', 'The domain with the virtual TPM.', 'Usher has no virtual TPM'),
  unheeded('vtpm-instance', 'The number of the virtual TPM.', 'Usher has no virtual TPM'),
  unheeded('xci-service', 'The name of a service of OpenXT.', OPENXT),
  unheeded('xci-cpuid-signature', 'Whether CPUID tells the name of XenClient.', OPENXT, { type: 'boolean' }),
  unheeded('usb', 'Whether there is a USB controller.', 'controllers are told by usbctrl', { type: 'boolean' }),
  unheeded('qemu-pv', 'Whether PV devices are served by QEMU.', 'Usher starts one where a device needs it', {
    type: 'boolean',
  }),
  unheeded('vsnd', 'Whether there is a PV sound card.', NO_OPENXT_DEVICE, { type: 'boolean' }),
  unheeded('vkbd', 'Whether there is a PV keyboard.', 'keyboards are USB devices', { type: 'boolean' }),
  unheeded('vfb', 'Whether there is a PV screen.', 'a screen is told by display, for hvm alone', { type: 'boolean' }),
  unheeded('v4v', 'Whether domains may talk by V4V.', NO_OPENXT_DEVICE, { type: 'boolean' }),
  unheeded('disable-migrate', 'Whether the VM may not be migrated.', 'Usher migrates none', { type: 'boolean' }),
  unheeded('no_mem_check', 'Whether a start does without a look at free memory.', 'the hypervisor looks itself', {
    type: 'boolean',
  }),
  unheeded('extra-maxmem', 'Memory beyond the maximum.', 'xl reckons that itself', { type: 'integer' }),
];

function powerHonours(): VmKey['honours'] {
  const why = 'a guest does not get at the power of the host';
  const rule: HonourRule = {
    says: `1 is ignored: ${why}; 2 holds`,
    of: (text) => (Number(text) === 1 ? { does: 'ignored', why } : { does: 'honoured', says: 'not passed through' }),
  };
  return { xen: rule, qemu: rule, simulator: SIMULATED };
}
