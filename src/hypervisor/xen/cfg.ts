/**
 * Makes the xl.cfg(5) of a VM, and says what of its config Xen cannot do. Pure: looks at no file and starts nothing.
 */
import { DEFAULT_CONTROLLER } from '../../config/usbctrl.ts';
import { Fault } from '../../lib/fault.ts';
import { type UsbControllerConfig, type VirtMode, type VmConfig, virtModeOf } from '../../model/vm.ts';
import { nicSpecs, pciSpecs } from './cfg-devices.ts';
import { diskSpecs } from './cfg-disk.ts';
import { type FirmwareFiles, hvmSettings } from './cfg-hvm.ts';
import { printCfg } from './cfg-text.ts';
import { controllerArgs, type PlacedController } from './emulated-controllers.ts';
import type { DomainPaths } from './paths.ts';

export interface Cfg {
  /** The file's whole content. */
  readonly text: string;
  /** What the VM's config asks for and the guest will not have, a sentence each. */
  readonly notes: readonly string[];
}

/**
 * Gives the cfg for `xl create -e` and `xl restore -e`, Xen 4.17 and newer. A death is answered by our monitor alone, so
 * every `on_…` says `preserve`: should an xl ever watch over the domain, it leaves the dead one to us. `emulated` are the
 * emulated controllers of a guest that goes on from a save; the config then has the others only.
 * @throws Fault `vm.start_failed` for what xl cannot be told
 */
export function makeCfg(
  config: VmConfig,
  paths: DomainPaths,
  emulated: readonly PlacedController[] = [],
  firmware: FirmwareFiles = {},
): Cfg {
  const { uuid, name, kernel, initrd, cmdline, memoryMiB, vcpus } = config;
  const kind = virtModeOf(config);
  const isHvm = kind === 'hvm';
  const notes: string[] = [];
  if (kernel === undefined && !isHvm) throw refuse(name, `a guest of the kind ${kind} needs a kernel`);
  const controllers = config.usbControllers.map((controller) => printController(controller, kind, name, notes));
  const preserve = (['poweroff', 'reboot', 'watchdog', 'crash', 'soft_reset'] as const).map(
    (event) => [`on_${event}`, 'preserve'] as const,
  );
  try {
    const text = printCfg(`VM ${name}, written by Usher at its start.`, [
      ['name', name],
      ['uuid', uuid],
      ['type', kind],
      ['memory', memoryMiB],
      ['maxmem', config.memoryMaxMiB],
      ['vcpus', vcpus],
      ['kernel', kernel],
      ['ramdisk', kernel === undefined ? undefined : initrd],
      ['cmdline', kernel === undefined ? undefined : cmdline],
      ['disk', diskSpecs(config, kind)],
      ['vif', nicSpecs(config)],
      ['pci', pciSpecs(config)],
      ['pci_msitranslate', numberOf(config.pciMsiTranslate)],
      ['pci_power_mgmt', numberOf(config.pciPowerManagement)],
      ['usbctrl', controllers],
      ...(isHvm ? hvmSettings(config, firmware) : []),
      [
        'device_model_args',
        [
          ...qmpArgs(paths),
          ...(isHvm ? serialArgs(config, paths) : []),
          ...controllerArgs(emulated),
          ...(isHvm ? extraArgs(config) : []),
        ],
      ],
      ...preserve,
    ]);
    if (config.serial !== undefined && !isHvm) {
      notes.push(
        `VM ${name} is of the kind ${kind}, which has no serial port: "serial" does nothing. Its console socket and log are there.`,
      );
    }
    return { text, notes };
  } catch (error) {
    throw error instanceof RangeError ? refuse(name, error.message) : error;
  }
}

function numberOf(isOn: boolean | undefined): number | undefined {
  return isOn === undefined ? undefined : Number(isOn);
}

/** What a file hands on as it is, on purpose: see `extra-hvm` in the reference. */
function extraArgs({ extraArguments = [] }: VmConfig): string[] {
  return extraArguments.flatMap(({ name, value }) => [`-${name}`, ...(value === undefined ? [] : [value])]);
}

function refuse(vm: string, what: string): Fault {
  return new Fault('vm.start_failed', { vm, what });
}

/** A controller of xl.cfg(5). PV and PVH guests have no emulated one, and PV controllers end at version 2. */
function printController(controller: UsbControllerConfig, kind: VirtMode, vm: string, notes: string[]): string {
  const { type, version, ports } = controller;
  const isEmulated = kind === 'hvm' && (type === 'auto' || type === 'devicemodel');
  if (isEmulated) return `type=devicemodel,version=${version},ports=${ports}`;
  if (type === 'devicemodel') {
    notes.push(`VM ${vm} is of the kind ${kind}, which has no emulated USB controller: it gets one of the type qusb.`);
  } else if (type === 'pv') {
    notes.push(
      `VM ${vm} gets a USB controller of the type qusb in place of pv, which needs a module that Linux lacks.`,
    );
  }
  if (version === 3 && !isDefault(controller)) {
    notes.push(`A USB controller of VM ${vm} has version 2 in place of 3: PVUSB ends there. Every device works on it.`);
  }
  return `type=qusb,version=${Math.min(version, 2)},ports=${ports}`;
}

/** One that nobody asked for. */
function isDefault({ type, version, ports }: UsbControllerConfig): boolean {
  return (
    type === DEFAULT_CONTROLLER.type && version === DEFAULT_CONTROLLER.version && ports === DEFAULT_CONTROLLER.ports
  );
}

/** Words for the device model, if the domain gets one: a QMP socket besides libxl's own. */
function qmpArgs({ qmpSocket }: DomainPaths): string[] {
  return [
    ...['-chardev', `socket,id=usher-qmp,path=${escapeCommas(qmpSocket)},server=on,wait=off`],
    ...['-mon', 'chardev=usher-qmp,mode=control'],
  ];
}

/** The first serial port is the console: a socket, and a log that is always written. The VM's own wish is the second. */
function serialArgs({ name, serial }: VmConfig, { consoleSocket, consoleLog }: DomainPaths): string[] {
  const log = `logfile=${escapeCommas(consoleLog)},logappend=on`;
  const console = `socket,id=usher-console,path=${escapeCommas(consoleSocket)},server=on,wait=off,${log}`;
  const first = ['-chardev', console, '-serial', 'chardev:usher-console'];
  if (serial === undefined) return first;
  if (serial === 'pty') return [...first, '-chardev', 'pty,id=usher-serial', '-serial', 'chardev:usher-serial'];
  const [, bracketed, plain, port] = /^tcp:(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(serial) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) throw refuse(name, `serial "${serial}" is neither pty nor tcp:IP:PORT`);
  const second = `socket,id=usher-serial,host=${escapeCommas(host)},port=${port},server=on,wait=off`;
  return [...first, '-chardev', second, '-serial', 'chardev:usher-serial'];
}

/** Doubles commas, which would end a value of QEMU's `key=value,…` options and begin another. */
function escapeCommas(value: string): string {
  return value.replaceAll(',', ',,');
}
