/**
 * Makes QEMU's command line from a VM's config. Pure: looks at no file and starts nothing. Devices and block nodes are
 * written as JSON, in which no comma means anything; in `key=value,…` options a comma of a value is doubled.
 */
import { Fault } from '../../lib/fault.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { Accelerator } from './accel.ts';
import { balloonArgv } from './balloon.ts';
import { controllerDevices, MAX_CONTROLLERS } from './controllers.ts';
import { diskArgv } from './disk-argv.ts';
import { displayArgv } from './display-argv.ts';
import { clockArgv, machineArgv } from './machine-argv.ts';
import { type NetworkPlan, networkArgv } from './network.ts';
import type { DomainPaths } from './paths.ts';
import { pciArgv } from './pci.ts';

export interface ArgvInput {
  readonly binary: string;
  readonly config: VmConfig;
  readonly paths: DomainPaths;
  readonly accelerator: Accelerator['name'];
  readonly network: NetworkPlan;
  /** Files with tables of the host's firmware. */
  readonly firmware: { readonly smbios: readonly string[]; readonly acpi: readonly string[] };
  /** When it is started, in milliseconds since 1970. */
  readonly now: number;
  /** Stops before the guest's first instruction (or, when restored, before its next). */
  readonly isPaused: boolean;
  /** The guest gets a balloon: see balloon.ts. */
  readonly hasBalloon: boolean;
  /** Waits for a saved state on the machine type that it was saved from. */
  readonly restore?: { readonly machine: string } | undefined;
}

const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/**
 * Gives the whole command line, QEMU 7.2 and newer. The process has to be started in `paths.folder`: `-D` takes a `%` in
 * its path for a pattern, so it gets a bare name. @throws Fault `vm.start_failed` for what QEMU cannot be told
 */
export function qemuArgv(input: ArgvInput): [string, ...string[]] {
  const { binary, config, paths, accelerator, network, isPaused, restore } = input;
  return [
    binary,
    ...['-name', `guest=${escapeCommas(config.name)},process=${escapeCommas(`usher:${config.name}`)}`],
    ...['-uuid', config.uuid],
    ...['-no-user-config', '-nodefaults', '-display', 'none', '-sandbox', SANDBOX],
    ...machineArgv(config, accelerator, restore?.machine),
    ...clockArgv(config, input.now),
    ...['-boot', 'strict=on'],
    // A guest that ends stays to be asked how: see death.ts.
    ...['-action', 'panic=pause,shutdown=pause,reboot=shutdown'],
    ...['-D', 'trace.log', '-trace', 'runstate_set', '-trace', 'qemu_system_shutdown_request'],
    ...['-chardev', `socket,id=qmp,path=${escapeCommas(paths.qmpSocket)},server=on,wait=off`],
    ...['-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', consoleChardev(paths), '-serial', 'chardev:console'],
    ...serialArgv(config),
    ...['-device', 'pvpanic'],
    ...bootArgv(config),
    ...diskArgv(config),
    ...controllerArgv(config),
    ...displayArgv(config, paths),
    ...networkArgv(config, network),
    ...pciArgv(config),
    ...firmwareArgv(input.firmware),
    // Behind what older saves have: devices that are given no slot get the next.
    ...(input.hasBalloon ? balloonArgv() : []),
    ...extraArgv(config),
    ...(isPaused ? ['-S'] : []),
    ...(restore === undefined ? [] : ['-incoming', 'defer']),
  ];
}

/** Doubles commas, which would end a value of QEMU's `key=value,…` options and begin another. */
function escapeCommas(value: string): string {
  return value.replaceAll(',', ',,');
}

function consoleChardev(paths: DomainPaths): string {
  const path = escapeCommas(paths.consoleSocket);
  return `socket,id=console,path=${path},server=on,wait=off,logfile=${escapeCommas(paths.consoleLog)},logappend=on`;
}

function serialArgv({ name, serial }: VmConfig): string[] {
  if (serial === undefined) return [];
  if (serial === 'pty') return ['-chardev', 'pty,id=serial', '-serial', 'chardev:serial'];
  const [, bracketed, plain, port] = /^tcp:(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(serial) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) {
    throw new Fault('vm.start_failed', { vm: name, what: `serial "${serial}" is neither pty nor tcp:IP:PORT` });
  }
  const chardev = `socket,id=serial,host=${escapeCommas(host)},port=${port},server=on,wait=off`;
  return ['-chardev', chardev, '-serial', 'chardev:serial'];
}

function bootArgv({ kernel, initrd, cmdline }: VmConfig): string[] {
  if (kernel === undefined) return [];
  return [
    ...['-kernel', kernel],
    ...(initrd === undefined ? [] : ['-initrd', initrd]),
    ...(cmdline === undefined ? [] : ['-append', cmdline]),
  ];
}

function firmwareArgv({ smbios, acpi }: ArgvInput['firmware']): string[] {
  return [
    ...smbios.flatMap((file) => ['-smbios', `file=${escapeCommas(file)}`]),
    ...acpi.flatMap((file) => ['-acpitable', `file=${escapeCommas(file)}`]),
  ];
}

/** What a file hands on as it is, on purpose: see `extra-hvm` in the reference. */
function extraArgv({ extraArguments = [] }: VmConfig): string[] {
  return extraArguments.flatMap(({ name, value }) => [`-${name}`, ...(value === undefined ? [] : [value])]);
}

function controllerArgv({ name, usbControllers }: VmConfig): string[] {
  if (usbControllers.length > MAX_CONTROLLERS) {
    const what = `it has ${usbControllers.length} USB controllers, and QEMU's machine has room for ${MAX_CONTROLLERS}`;
    throw new Fault('vm.start_failed', { vm: name, what });
  }
  return usbControllers
    .flatMap((controller, index) => controllerDevices(controller, index))
    .flatMap((device) => ['-device', JSON.stringify(device)]);
}
