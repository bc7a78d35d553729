/** What auto-usb-attach says of the daemon's events, and how loudly. */
import type { AutoAttachSettings } from '../../config/auto-usb-attach.ts';
import type { UsherEvent } from '../../model/event.ts';
import { HOST_BACKEND } from '../../model/ids.ts';
import { isBelowHub, parseDeviceRef } from '../../model/usb.ts';
import type { Journal, Verbosity } from './journal.ts';

/** Says what is worth saying of an event to who watches for that domain. */
export function sayEvent(event: UsherEvent, settings: AutoAttachSettings, journal: Journal): void {
  const said = sentenceOf(event, settings);
  if (said !== undefined) journal.say(said.text, said.least);
  journal.say(JSON.stringify(event), 3);
}

function sentenceOf(
  { kind, body }: UsherEvent,
  settings: AutoAttachSettings,
): { readonly text: string; readonly least: Verbosity } | undefined {
  const { domain } = settings;
  if ('name' in body && body.name !== domain) return undefined;
  switch (kind) {
    case 'usb.plugged': {
      const { device, deviceId, product } = body;
      return isWatched(device, deviceId, settings) ? { text: `${device} is plugged: ${product}`, least: 1 } : undefined;
    }
    case 'usb.unplugged': {
      const { device, deviceId } = body;
      return isWatched(device, deviceId, settings) ? { text: `${device} is unplugged`, least: 1 } : undefined;
    }
    case 'usb.attached':
      return { text: `${body.device} is attached to ${domain} at ${body.slot}`, least: 0 };
    case 'usb.detached':
      return { text: `${body.device} is detached from ${domain}: ${body.why}`, least: 0 };
    case 'usb.failed':
    case 'vm.warning':
    case 'vm.usb_trouble':
      return { text: body.message, least: 0 };
    case 'usb.controller_added':
      return { text: `${domain} has one more USB controller, ${body.controller}: ${body.why}`, least: 1 };
    case 'vm.state':
      return {
        text: `${domain}: ${body.from} to ${body.to}${body.why === undefined ? '' : ` (${body.why})`}`,
        least: 1,
      };
    case 'vm.death':
      return { text: `${domain} died: ${body.reason}, ${body.action}`, least: 2 };
    case 'daemon.started':
    case 'daemon.stopping':
      return { text: kind === 'daemon.started' ? 'The daemon has started' : 'The daemon is stopping', least: 2 };
    default:
      return undefined;
  }
}

/** Tells whether the device is one of those that are watched for: below one of the hubs, or of one of the kinds. */
export function isWatched(
  device: string,
  deviceId: string,
  { hubs, devices }: Pick<AutoAttachSettings, 'hubs' | 'devices'>,
): boolean {
  const { backend, busid } = parseDeviceRef(device);
  if (backend === HOST_BACKEND && hubs.some((hub) => isBelowHub(busid, hub))) return true;
  return devices.some((numbers) => deviceId.startsWith(`${numbers}:`));
}
