/** The settings of an xl.cfg that only a guest with an emulated machine has: firmware, processor, clock, screen. Pure. */
import { vncDisplayNumber } from '../../config/display.ts';
import { Fault } from '../../lib/fault.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { CfgValue } from './cfg-text.ts';

/** Files with tables of the host's firmware, where there are any. */
export interface FirmwareFiles {
  readonly smbios?: string | undefined;
  readonly acpi?: string | undefined;
}

type Setting = readonly [key: string, value: CfgValue | undefined];

/** By Xen's numbers of them (xl.cfg(5), `timer_mode`). */
const TIMER_MODES = [
  'delay_for_missed_ticks',
  'no_delay_for_missed_ticks',
  'no_missed_ticks_pending',
  'one_missed_tick_pending',
];

/** Gives the settings; a guest with a kernel of its own and no display needs no VGA. @throws Fault `vm.start_failed` */
export function hvmSettings(config: VmConfig, firmware: FirmwareFiles): Setting[] {
  const { kernel, disks, bootOrder, timerMode, timeOffsetSeconds, videoMemoryMiB, display } = config;
  const startsFromCd = disks[0]?.kind === 'cdrom';
  const isShown = display !== undefined && display.protocol !== 'none';
  const switches = (
    [
      ['pae', config.pae],
      ['acpi', config.acpi],
      ['apic', config.apic],
      ['nx', config.nx],
      ['hap', config.hap],
      ['viridian', config.viridian],
      ['nestedhvm', config.nestedVirtualization],
      ['hpet', config.hpet],
      ['vpt_align', config.alignsTimers],
    ] as const
  ).map(([key, isOn]): Setting => [key, isOn === undefined ? undefined : Number(isOn)]);
  return [
    ['boot', bootOrder ?? (startsFromCd ? 'dc' : 'cd')],
    ...switches,
    ['timer_mode', timerMode === undefined ? undefined : TIMER_MODES[timerMode]],
    // As a text: a number of libxlu has no sign.
    ['rtc_timeoffset', timeOffsetSeconds === undefined ? undefined : String(timeOffsetSeconds)],
    ['cpuid', config.cpuid],
    ['smbios_firmware', firmware.smbios],
    ['acpi_firmware', firmware.acpi],
    ['vga', kernel === undefined || isShown ? 'stdvga' : 'none'],
    ['videoram', videoMemoryMiB],
    ...vncSettings(config),
    ['sdl', 0],
  ];
}

function vncSettings({ name, display }: VmConfig): Setting[] {
  if (display === undefined || display.protocol === 'none') return [['vnc', 0]];
  if (display.protocol !== 'vnc') {
    const what = `Usher cannot show it by ${display.protocol}: say "display = vnc" or none`;
    throw new Fault('vm.start_failed', { vm: name, what });
  }
  const { port, usesFreePort, keymap } = display;
  return [
    ['vnc', 1],
    ['vnclisten', '127.0.0.1'],
    ['vncdisplay', port === undefined ? undefined : vncDisplayNumber(port)],
    ['vncunused', Number(usesFreePort || port === undefined)],
    ['keymap', keymap],
  ];
}
