/** Keys of the emulated machine: firmware, processor features, clock, boot order, what is passed through of the host. */
import { printable } from '../lib/text.ts';
import { parseExtraArguments, printExtraArgument } from './extra-arguments.ts';
import { parseInteger, type ValueContext } from './values.ts';
import {
  booleanRow,
  depends,
  type Honours,
  honoured,
  hvmOnly,
  ignored,
  integerRow,
  lacking,
  row,
  SIMULATED,
  type VmKey,
} from './vm-key.ts';

const OWN_CHOICE = "the hypervisor's own choice";

const on = (xen: string, qemu: string): Honours => ({
  xen: hvmOnly(honoured(`xl: ${xen}`), 'no emulated machine'),
  qemu: honoured(qemu),
  simulator: SIMULATED,
});

export const MACHINE_KEYS: readonly VmKey[] = [
  booleanRow('pae', {
    key: 'pae',
    otherwise: OWN_CHOICE,
    meaning: 'Whether the processor has physical address extension, without which no 64-bit guest boots.',
    honours: on('pae', '-cpu …,pae=on|off'),
  }),
  booleanRow('acpi', {
    key: 'acpi',
    otherwise: OWN_CHOICE,
    meaning: 'Whether the machine has ACPI, without which a guest cannot be asked to power off.',
    honours: on('acpi', '-machine …,acpi=on|off; when off, the BIOS still has a few tables of its own'),
  }),
  booleanRow('apic', {
    key: 'apic',
    otherwise: OWN_CHOICE,
    meaning: 'Whether the processor has a local interrupt controller.',
    honours: on('apic', '-cpu …,apic=on|off'),
  }),
  booleanRow('nx', {
    key: 'nx',
    otherwise: OWN_CHOICE,
    meaning: 'Whether the processor can forbid to execute data.',
    honours: on('nx', '-cpu …,nx=on|off'),
  }),
  booleanRow('hap', {
    key: 'hap',
    otherwise: OWN_CHOICE,
    meaning: "Whether the processor's nested paging is used.",
    honours: {
      xen: hvmOnly(honoured('xl: hap'), 'no paging that the processor could nest'),
      qemu: ignored('KVM decides it for the whole host'),
      simulator: SIMULATED,
    },
  }),
  booleanRow('viridian', {
    key: 'viridian',
    otherwise: 'false',
    meaning: 'Whether Windows finds the interfaces of Hyper-V.',
    honours: {
      xen: hvmOnly(honoured('xl: viridian'), 'no such interfaces'),
      qemu: lacking('Usher does not set up the interfaces of Hyper-V in QEMU'),
      simulator: SIMULATED,
    },
  }),
  booleanRow('nestedVirtualization', {
    key: 'nested',
    otherwise: OWN_CHOICE,
    meaning: 'Whether the guest can be a hypervisor itself.',
    honours: {
      xen: hvmOnly(honoured('xl: nestedhvm'), 'no hardware virtualization'),
      qemu: ignored('KVM decides it for the whole host'),
      simulator: SIMULATED,
    },
  }),
  booleanRow('hpet', {
    key: 'hpet',
    otherwise: OWN_CHOICE,
    meaning: 'Whether the machine has a high precision timer.',
    honours: on('hpet', '-machine …,hpet=on|off'),
  }),
  booleanRow('alignsTimers', {
    key: 'vpt-align',
    otherwise: OWN_CHOICE,
    meaning: 'Whether periodic timers tick together, for fewer interrupts.',
    honours: {
      xen: hvmOnly(honoured('xl: vpt_align'), 'no emulated timers'),
      qemu: lacking('QEMU has no such thing'),
      simulator: SIMULATED,
    },
  }),
  row('bootOrder', {
    key: 'boot',
    type: 'word',
    takes: 'letters, first to last: c disk, d cdrom, n network, a floppy',
    otherwise: 'the disks in their order; on Xen disks, then cdroms, or the other way round when a cdrom comes first',
    meaning: 'What a guest without a kernel boots from.',
    empty: 'as no line',
    honours: {
      xen: hvmOnly(honoured('xl: boot'), 'no firmware that would boot anything but its kernel'),
      qemu: depends('bootindex of disks and network cards; ignored with a kernel', (text, { draft }) =>
        draft.kernel !== undefined
          ? { does: 'ignored', why: 'the kernel is booted' }
          : /^a+$/.test(text)
            ? { does: 'ignored', why: 'the machine has no floppy drive' }
            : { does: 'honoured', says: 'bootindex of disks and network cards' },
      ),
      simulator: SIMULATED,
    },
    parse(text, context) {
      if (/^[acdn]{1,4}$/.test(text) && new Set(text).size === text.length) return text;
      return context.error(
        `"boot" is some of the letters a, c, d and n, each once, such as "dc", not "${printable(text, 20)}".`,
      );
    },
    print: (value) => value ?? [],
  }),
  integerRow('timerMode', {
    key: 'timer-mode',
    ...{ min: 0, max: 3 },
    otherwise: OWN_CHOICE,
    meaning:
      'What becomes of clock ticks that a guest missed: 0 and 1 deliver all of them later (0 delays its time for that), 2 drops them, 3 delivers one.',
    honours: on(
      'timer_mode',
      'of the clock: 0 and 1 are driftfix=slew, 2 and 3 driftfix=none, the nearest that QEMU has',
    ),
  }),
  row('timeOffsetSeconds', {
    key: 'timeoffset',
    aliases: ['time-offset'],
    type: 'text',
    takes: 'seconds, or hours and minutes as +02:00',
    otherwise: '0',
    meaning: "How far the machine's clock is ahead of UTC.",
    empty: 'as no line',
    honours: on('rtc_timeoffset', '-rtc base='),
    parse: parseOffset,
    print: String,
  }),
  booleanRow('hasHostSmbios', {
    key: 'smbios-pt',
    otherwise: 'false',
    meaning: "Whether the guest finds the host's maker, product and BIOS in its SMBIOS tables.",
    honours: on('smbios_firmware', "-smbios file=, the host's tables 0 to 3"),
  }),
  row('hostSmbiosTypes', {
    key: 'smbios-oem-type-pt',
    aliases: ['smbios-oem-types-pt'],
    type: 'text',
    takes: 'numbers, 128 to 255, with commas',
    otherwise: 'none',
    meaning: "Types of the host's SMBIOS tables that its maker added and the guest gets, too.",
    empty: 'as no line',
    honours: on('smbios_firmware', '-smbios file='),
    parse: parseTypes,
    print: (value) => value.join(','),
  }),
  booleanRow('hasHostAcpiTables', {
    key: 'acpi-pt',
    otherwise: 'false',
    meaning: "Whether the guest finds the host's ACPI tables SLIC and MSDM, by which systems know their licence.",
    honours: on('acpi_firmware', '-acpitable file='),
  }),
  row('extraArguments', {
    key: 'extra-hvm',
    type: 'text',
    takes: 'k=v with commas; a comma inside of a value is doubled',
    otherwise: 'none',
    meaning:
      'Arguments for the device model, handed on as -k v and as they are: whoever writes them can do whatever the device model can. Those by which Usher finds and steers it are refused.',
    isList: true,
    empty: 'as no line',
    honours: on('device_model_args', '-k v'),
    parse: parseExtraArguments,
    print: (value) => value.map(printExtraArgument),
  }),
];

function parseOffset(text: string, context: ValueContext): number | undefined {
  const [, sign, hours, minutes] = /^([+-]?)(\d{1,2}):([0-5]\d)$/.exec(text) ?? [];
  if (hours !== undefined && Number(hours) < 24) {
    return (sign === '-' ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60) || 0;
  }
  const limit = 2 ** 31 - 1;
  return parseInteger(text.replace(/^\+/, ''), context, -limit, limit);
}

function parseTypes(text: string, context: ValueContext): readonly number[] | undefined {
  const words = text.split(',').map((word) => word.trim());
  const numbers = words.filter((word) => word !== '').map((word) => parseInteger(word, context, 128, 255));
  const good = numbers.filter((number) => number !== undefined);
  return good.length === numbers.length ? [...new Set(good)] : undefined;
}
