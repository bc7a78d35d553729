/** The part of QEMU's command line that is about the machine itself: firmware, processor, clock. Pure. */
import type { VmConfig } from '../../model/vm.ts';
import { mostMemoryMiB } from '../topology.ts';
import type { Accelerator } from './accel.ts';

/** The machine type of a new domain; QEMU takes it for its newest version of it. */
const MACHINE = 'q35';
/** What QEMU's emulation has when nobody says more. */
const EMULATED_CPU = 'qemu64';

/** Gives `-machine`, `-accel`, `-cpu`, `-m` and `-smp`; `machine` is the type that a saved state needs. */
export function machineArgv(config: VmConfig, accelerator: Accelerator['name'], machine = MACHINE): string[] {
  const { kernel, display, vcpus, coresPerSocket, acpi, hpet } = config;
  // What would be shown nowhere needs no option ROM; a kernel brings its own.
  const hidden = kernel === undefined && display?.protocol !== 'vnc' ? ['graphics=off'] : [];
  const cores = coresPerSocket !== undefined && vcpus % coresPerSocket === 0 ? [`cores=${coresPerSocket}`] : [];
  return [
    ...['-machine', [machine, 'dump-guest-core=off', ...hidden, ...flags({ acpi, hpet })].join(',')],
    ...['-accel', accelerator],
    ...cpuArgv(config, accelerator),
    ...['-m', `size=${mostMemoryMiB(config)}M`, '-smp', [`cpus=${vcpus}`, ...cores].join(',')],
  ];
}

/** Gives `-rtc`; `now` is the time of the start, in milliseconds since 1970. */
export function clockArgv({ timeOffsetSeconds = 0, timerMode }: VmConfig, now: number): string[] {
  const base =
    timeOffsetSeconds === 0 ? 'utc' : new Date(now + timeOffsetSeconds * 1000).toISOString().replace(/\.\d+Z$/, '');
  const drift = timerMode === undefined ? [] : [`driftfix=${timerMode <= 1 ? 'slew' : 'none'}`];
  return ['-rtc', [`base=${base}`, ...drift].join(',')];
}

function cpuArgv({ pae, apic, nx }: VmConfig, accelerator: Accelerator['name']): string[] {
  const model = accelerator === 'kvm' ? 'host' : EMULATED_CPU;
  const features = flags({ pae, apic, nx });
  return features.length === 0 && accelerator !== 'kvm' ? [] : ['-cpu', [model, ...features].join(',')];
}

function flags(wishes: Readonly<Record<string, boolean | undefined>>): string[] {
  return Object.entries(wishes).flatMap(([name, isOn]) =>
    isOn === undefined ? [] : [`${name}=${isOn ? 'on' : 'off'}`],
  );
}
