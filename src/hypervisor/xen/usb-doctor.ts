/** The USB half of `usher doctor` on a Xen host: what is there, what is missing, what to do. Looks only. */
import { existsSync } from 'node:fs';
import { printable } from '../../lib/text.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { Finding } from '../driver.ts';
import type { ControllerState, DomainNodes } from './domain-nodes.ts';
import { modelBackendsPath, XENBUS_STATE } from './nodes.ts';
import { whyUnusable } from './usb-controllers.ts';

export interface UsbDoctorParts {
  readonly xenstore: Pick<XenstoreClient, 'directory'>;
  readonly usbfsRoot: string;
  readonly domains: readonly DomainNodes[];
  troubleOf(nodes: DomainNodes): string | undefined;
}

const GUEST_ADVICE = 'Load the module xen-hcd in the guest; docs/guests.md says how it gets one.';

/** Never throws: what cannot be asked is not said. */
export async function diagnoseUsb({ xenstore, usbfsRoot, domains, troubleOf }: UsbDoctorParts): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (!existsSync(usbfsRoot)) {
    const says = `${usbfsRoot} is missing: an unplugging is not seen in time, and a guest's device model may die of it.`;
    const advice = 'Mount devtmpfs at /dev, and load usbcore.';
    findings.push({ level: 'warning', subject: 'unplugging', says, advice });
  }
  for (const nodes of domains) {
    const subject = `VM ${printable(nodes.untrustedName, 63)}`;
    const trouble = troubleOf(nodes);
    if (trouble !== undefined) findings.push({ level: 'error', subject, says: `No USB: ${trouble}.` });
    else if (nodes.uuid === undefined) findings.push(leftovers(nodes));
    else findings.push(...(await diagnoseDomain(xenstore, subject, nodes)));
  }
  if (findings.length === 0) {
    const count = domains.filter(({ controllers }) => controllers.length > 0).length;
    const says = `${count} ${count === 1 ? 'domain has' : 'domains have'} USB controllers, and all of them can be used.`;
    findings.push({ level: 'ok', subject: 'USB', says });
  }
  return findings;
}

function leftovers({ domid }: DomainNodes): Finding {
  const says = `The nodes of domain ${domid}, which is gone, are still there: xl refuses to attach what they name.`;
  return { level: 'warning', subject: 'USB', says, advice: 'Restart usherd: it clears them when it starts.' };
}

async function diagnoseDomain(
  xenstore: Pick<XenstoreClient, 'directory'>,
  subject: string,
  { domid, controllers, broken }: DomainNodes,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const warn = (says: string, advice?: string) =>
    findings.push({ level: 'warning', subject, says, ...(advice === undefined ? {} : { advice }) });
  for (const index of broken) {
    warn(`The nodes of controller ${index} are incomplete, or make no sense: it is not used.`);
  }
  const backends = await xenstore.directory(modelBackendsPath(domid)).catch(() => undefined);
  if (controllers.some(({ type }) => type === 'qusb') && backends?.includes('qusb') === false) {
    warn('Its device model has no backend for PVUSB (qusb).', 'Install Debian’s qemu-system-xen, which has it.');
  }
  for (const controller of controllers) {
    const why = whyUnusable(controller);
    if (why !== undefined) warn(`Controller ${controller.index} cannot be used: ${why}.`);
    else if (isWithoutFrontend(controller)) {
      warn(`The guest does not use controller ${controller.index}: it has not connected to it.`, GUEST_ADVICE);
    }
    for (const { port, value } of controller.slots) {
      if (value.is !== 'nonsense') continue;
      warn(`Port ${controller.index}-${port} names no device: "${printable(value.untrustedText, 60)}".`);
    }
  }
  return findings;
}

function isWithoutFrontend({ type, backendState }: ControllerState): boolean {
  return type === 'qusb' && backendState !== XENBUS_STATE.connected;
}
