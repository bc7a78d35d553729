/**
 * USB controllers of an HVM guest that goes on from a save. xl adds an emulated controller to a device model that runs
 * already (QMP `device_add`), which comes too late for one that shall take over the state of a guest that has it: QEMU
 * ends with `Unknown savevm section …/xhci`. So they are words of its command line, at the PCI slots that they had, and
 * xl's nodes of them are written by us; xl takes them for its own (libxl_usb.c, `libxl__device_usbctrl_add_hvm`).
 */
import { CONTROLLER_PORTS } from '../../model/vm.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';

export interface EmulatedController {
  /** Its number among the domain's controllers (`devid`). */
  readonly index: number;
  readonly version: 1 | 2 | 3;
  readonly ports: number;
}

export interface PlacedController extends EmulatedController {
  /** Its slot on the first PCI bus. */
  readonly pciSlot: number;
}

/** What each version is in QEMU, by libxl's choice, and what the section of its state is called (QEMU's `hw/usb`). */
const DEVICES = {
  1: { driver: 'piix3-usb-uhci', section: 'uhci' },
  2: { driver: 'usb-ehci', section: 'ehci' },
  3: { driver: 'nec-usb-xhci', section: 'xhci' },
} as const;
const VERSIONS = [1, 2, 3] as const;
const MAX_SLOT = 31;
const MAX_INDEX = 255;

/** Gives QEMU's words for them, with libxl's ids. */
export function controllerArgs(controllers: readonly PlacedController[]): string[] {
  return controllers.flatMap(({ index, version, ports, pciSlot }) => {
    const sized = version === 3 ? `,p2=${ports},p3=${ports}` : '';
    return ['-device', `${DEVICES[version].driver},id=xenusb-${index}${sized},addr=0x${pciSlot.toString(16)}`];
  });
}

/** Finds the words of `controllerArgs` in a text that has them between quotes, a cfg or libxl's JSON; what is else is not theirs. */
export function parseControllerArgs(untrustedText: string): PlacedController[] {
  const found: PlacedController[] = [];
  for (const version of VERSIONS) {
    const { driver } = DEVICES[version];
    const sized = version === 3 ? ',p2=(?<ports>\\d{1,2}),p3=\\k<ports>' : '';
    const words = new RegExp(`"${driver},id=xenusb-(?<index>\\d{1,3})${sized},addr=0x(?<slot>[0-9a-f]{1,2})"`, 'g');
    for (const { groups } of untrustedText.matchAll(words)) {
      const { max, usual } = CONTROLLER_PORTS[version];
      const [index, ports] = [Number(groups?.['index']), Number(groups?.['ports'] ?? usual)];
      const pciSlot = Number.parseInt(groups?.['slot'] ?? '', 16);
      if (index <= MAX_INDEX && ports >= 1 && ports <= max && pciSlot <= MAX_SLOT) {
        found.push({ index, version, ports, pciSlot });
      }
    }
  }
  return found.sort((a, b) => a.index - b.index);
}

/**
 * Finds where the controllers were in the state of a device model: each device's section begins with its place and kind
 * (QEMU's `save_section_header`). The guest can have written the same bytes into a device; then there is one too many.
 * `undefined` when not each controller is there once.
 */
export function placeControllers(
  controllers: readonly EmulatedController[],
  placed: readonly PlacedController[],
  untrustedState: Buffer,
): PlacedController[] | undefined {
  const all = [...placed];
  for (const version of VERSIONS) {
    const ofVersion = controllers.filter((one) => one.version === version).sort((a, b) => a.index - b.index);
    const known = placed.filter((one) => one.version === version).map(({ pciSlot }) => pciSlot);
    const slots = slotsIn(untrustedState, DEVICES[version].section).filter((slot) => !known.includes(slot));
    if (slots.length !== ofVersion.length) return undefined;
    // QEMU gives the first slot that is free, so the order of the slots is that in which they were made.
    for (const [i, pciSlot] of slots.entries()) {
      const controller = ofVersion[i];
      if (controller !== undefined) all.push({ ...controller, pciSlot });
    }
  }
  return all.sort((a, b) => a.index - b.index);
}

/** Slots of the sections `0000:00:SS.0/KIND`, rising. */
function slotsIn(untrustedState: Buffer, kind: string): number[] {
  const length = String.fromCharCode(`0000:00:00.0/${kind}`.length);
  const section = new RegExp(`[\\x01\\x04][^]{4}${length}0000:00:([0-9a-f]{2})\\.0/${kind}`, 'g');
  const found = [...untrustedState.toString('latin1').matchAll(section)];
  return found.map(([, slot = '']) => Number.parseInt(slot, 16)).sort((a, b) => a - b);
}

/** Writes the nodes by which xl, and the view of a domain's USB, know them. @throws as `transaction` does */
export async function writeControllerNodes(
  store: Pick<XenstoreClient, 'transaction'>,
  domid: number,
  controllers: readonly EmulatedController[],
): Promise<void> {
  if (controllers.length === 0) return;
  await store.transaction(async (transaction) => {
    for (const { index, version, ports } of controllers) {
      const folder = `/libxl/${domid}/device/vusb/${index}`;
      await transaction.write(`${folder}/type`, 'devicemodel');
      await transaction.write(`${folder}/usb-ver`, String(version));
      await transaction.write(`${folder}/num-ports`, String(ports));
      for (let port = 1; port <= ports; port++) await transaction.write(`${folder}/port/${port}`, '');
    }
  });
}
