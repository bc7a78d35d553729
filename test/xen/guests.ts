/** What the guests of the Xen tests are made of: settings of their VMs, and cfg files for xl by hand. */
import { XEN_GUEST_CMDLINE } from '../../lab/guest.ts';
import { HOST_PATHS } from '../../lab/host-image.ts';

/** Settings of a PV guest's VM: the lab's guest on the paravirtual console, and one PVUSB controller. */
export const PV_GUEST = {
  kernel: HOST_PATHS.guestKernel,
  initrd: HOST_PATHS.guestInitrd,
  cmdline: XEN_GUEST_CMDLINE,
  memory: 128,
  usbctrl: 'type=qusb,version=2,ports=8',
} as const;

/** Settings of an HVM guest's VM with an emulated xHCI. Nobody waits for it to boot. */
export const HVM_GUEST = {
  virtmode: 'hvm',
  kernel: HOST_PATHS.guestPackedKernel,
  initrd: HOST_PATHS.guestPackedInitrd,
  cmdline: XEN_GUEST_CMDLINE.replace('hvc0', 'ttyS0'),
  memory: 128,
  usbctrl: 'type=devicemodel,version=3,ports=8',
} as const;

/** The xl.cfg(5) of an HVM guest that xl runs without Usher: no screen, an emulated xHCI of 8 ports. */
export function hvmCfg(name: string): string {
  return [
    `name = "${name}"`,
    'type = "hvm"',
    `kernel = "${HVM_GUEST.kernel}"`,
    `ramdisk = "${HVM_GUEST.initrd}"`,
    `memory = ${HVM_GUEST.memory}`,
    ...['vcpus = 1', 'vga = "none"', 'vnc = 0', 'sdl = 0'],
    `usbctrl = ["${HVM_GUEST.usbctrl}"]`,
    '',
  ].join('\n');
}

/** The xl.cfg(5) of a PV guest that xl runs without Usher. */
export function pvCfg(name: string): string {
  return [
    `name = "${name}"`,
    'type = "pv"',
    `kernel = "${PV_GUEST.kernel}"`,
    `ramdisk = "${PV_GUEST.initrd}"`,
    `cmdline = "${PV_GUEST.cmdline}"`,
    `memory = ${PV_GUEST.memory}`,
    'vcpus = 1',
    `usbctrl = ["${PV_GUEST.usbctrl}"]`,
    '',
  ].join('\n');
}
