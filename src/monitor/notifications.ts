/**
 * What xenvm tells of a VM by itself: a number for the kind, and parts. Made of Usher's events, written as a line
 * (`uuid:code:part:part`) or as a JSON-RPC notification. Pure.
 */
import { printable } from '../lib/text.ts';
import type { UsherEvent } from '../model/event.ts';
import { STATE_WORDS } from './state-words.ts';

/** The originals' numbers, of those kinds that there are here. */
export const NOTIFICATION_CODES = { ping: 0, hup: 1, error: 2, vmstate: 61_440 } as const;

export interface Notification {
  readonly code: number;
  readonly parts: readonly string[];
}

/** The first that a subscriber hears. */
export const PING: Notification = { code: NOTIFICATION_CODES.ping, parts: ['ping'] };
/** The last: the monitor ends, whatever becomes of the VM. */
export const HUP: Notification = { code: NOTIFICATION_CODES.hup, parts: ['hup'] };

/** Gives what is told of an event, if anything is. */
export function notificationOf(event: UsherEvent): Notification | undefined {
  if (event.kind === 'vm.state') {
    return { code: NOTIFICATION_CODES.vmstate, parts: ['vm', 'state', STATE_WORDS[event.body.to]] };
  }
  if (event.kind === 'vm.death' && (event.body.reason === 'crash' || event.body.reason === 'vanished')) {
    return { code: NOTIFICATION_CODES.error, parts: ['error', 'crashed'] };
  }
  return undefined;
}

/** Writes a notification as a line. */
export function formatNotificationLine(uuid: string, { code, parts }: Notification): string {
  return `${[uuid, code, ...parts.map((part) => printable(part, 200))].join(':')}\n`;
}

/** Writes a notification as JSON-RPC has them: a request without an id. One line. */
export function formatNotificationJson(uuid: string, { code, parts }: Notification): string {
  return `${JSON.stringify({ jsonrpc: '2.0', method: 'notify', params: { uuid, code, parts } })}\n`;
}
