/**
 * The small guest as domains of the Xen host: their xl.cfg(5), for tests that use xl by hand and for people. Usher writes
 * its own. Where their consoles are: dom0/type.
 */
import { XEN_GUEST_CMDLINE } from './guest.ts';
import { HOST_PATHS } from './host-image.ts';

export const GUEST_KINDS = ['pv', 'pvh', 'hvm'] as const;
export type GuestKind = (typeof GUEST_KINDS)[number];

/** Places in dom0. */
export const XEN_PATHS = {
  /** Cfg files of guests that have the names of their kinds: `xl create /lab/guest/pv.cfg`. */
  cfg: (kind: GuestKind) => `/lab/guest/${kind}.cfg`,
  /** What `xl save` made of a guest of the kind that had booted; only in hosts that have booted guests. */
  save: (kind: GuestKind) => `/lab/saves/${kind}`,
  /** What a guest has said. */
  log: (name: string) => `/var/log/xen/console/guest-${name}.log`,
} as const;

export interface GuestCfgOptions {
  /** Default: the kind. */
  readonly name?: string;
  /** Default: xl's choice. */
  readonly uuid?: string;
  /** Whether it has a USB controller of 8 ports, by PVUSB or, for HVM, emulated. Default: true. */
  readonly hasUsb?: boolean;
}

/** How much memory each guest has. It is part of the saves. */
export const GUEST_MEMORY_MIB = 128;

/** Gives the cfg of a guest, for `xl create` and, as long as it is of the same make, for `xl restore`. */
export function guestCfg(kind: GuestKind, { name = kind, uuid, hasUsb = true }: GuestCfgOptions = {}): string {
  const isHvm = kind === 'hvm';
  const lines = [
    `name = "${name}"`,
    ...(uuid === undefined ? [] : [`uuid = "${uuid}"`]),
    `type = "${kind}"`,
    `kernel = "${isHvm ? HOST_PATHS.guestPackedKernel : HOST_PATHS.guestKernel}"`,
    `ramdisk = "${isHvm ? HOST_PATHS.guestPackedInitrd : HOST_PATHS.guestInitrd}"`,
    `cmdline = "${XEN_GUEST_CMDLINE}"`,
    `memory = ${GUEST_MEMORY_MIB}`,
    'vcpus = 1',
    'on_crash = "preserve"',
    ...(hasUsb ? [`usbctrl = ["type=${isHvm ? 'devicemodel,version=3' : 'qusb,version=2'},ports=8"]`] : []),
    ...(isHvm ? ['vga = "none"', 'vnc = 0', 'sdl = 0'] : []),
  ];
  return `${lines.join('\n')}\n`;
}
