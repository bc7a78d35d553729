/**
 * What was seen of one device and done about it, in the order of time: out of the events and the audit trail, which keep
 * it in any case, and out of what the attacher remembers. Nothing is kept for this alone.
 */
import type { TraceEntry, TraceView } from '../api/views.ts';
import { Fault } from '../lib/fault.ts';
import { printable, printableJson } from '../lib/text.ts';
import type { AuditRow } from '../model/audit.ts';
import type { UsherEvent } from '../model/event.ts';
import { summarize } from '../usb/explain.ts';
import type { Engine } from './engine.ts';

type Parts = Pick<Engine, 'audit' | 'events' | 'router' | 'fleet' | 'clock'>;

/** The trail of a device has no more rows than a person reads. */
const MAX_ROWS = 10_000;
const MAX_LENGTH = 600;

/** Gives what is kept of a device, `backend:busid`. @throws Fault `usb.device_not_found` when nothing is */
export function traceDevice(parts: Parts, device: string, since = 0): TraceView {
  const rows = parts.audit.list({ device, since, limit: MAX_ROWS });
  const beginnings = new Map(rows.filter(({ kind }) => kind === 'intent').map((row) => [row.row, row]));
  const entries = [
    ...rows.map((row) => [row.at, entryOfRow(row, beginnings.get(row.intent ?? -1))] as const),
    ...parts.events.about(device, since).map((event) => [event.at, entryOfEvent(event)] as const),
  ];
  const now = sayNow(parts, device);
  if (entries.length === 0 && now.length === 0) {
    throw new Fault('usb.device_not_found', { device }, { hint: 'See: usher usb list --all' });
  }
  // Of one moment: rows before events, each in their order, for an event tells of what has been done.
  return { device, entries: entries.sort(([a], [b]) => a - b).map(([, entry]) => entry), now };
}

/** Sends what comes from now on about a device, until the function it returns is called. */
export function followDevice({ audit, events }: Parts, device: string, send: (entry: TraceEntry) => void): () => void {
  const beginnings = new Map<number, AuditRow>();
  const stops = [
    audit.onRow((row) => {
      if (row.device !== device) return;
      if (row.kind === 'intent') beginnings.set(row.row, row);
      send(entryOfRow(row, beginnings.get(row.intent ?? -1)));
      beginnings.delete(row.intent ?? -1);
    }),
    events.subscribe((event) => {
      if ('device' in event.body && event.body.device === device) send(entryOfEvent(event));
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

function entryOfRow(row: AuditRow, beginning: AuditRow | undefined): TraceEntry {
  const is = row.action.startsWith('step.') ? 'step' : 'asked';
  const says = row.kind === 'intent' ? sayIntent(row) : sayOutcome(row, beginning);
  const hasFailed = row.outcome !== undefined && row.outcome !== 'ok';
  return { at: iso(row.at), is: hasFailed ? 'failed' : is, says: printable(says, MAX_LENGTH), row: row.row };
}

function sayIntent({ action, actor, vm, details, because }: AuditRow): string {
  if (!action.startsWith('step.'))
    return `${actor.user} (process ${actor.pid}) asks for ${action} ${plainJson(details)}`;
  const { slot, why } = details as { readonly slot?: string; readonly why?: string };
  const place = vm === undefined ? '' : ` ${vm}${slot === undefined ? '' : ` ${slot}`}`;
  const rule =
    because?.rule === undefined ? '' : ` (${because.rule}${because.at === undefined ? '' : `, ${because.at}`})`;
  return `${wordsOf(action)}${place}, for ${because?.says ?? why ?? 'no reason that is known'}${rule}`;
}

function sayOutcome({ action, outcome, intent, details, at }: AuditRow, beginning: AuditRow | undefined): string {
  const { error, observed } = details as { readonly error?: string; readonly observed?: string };
  const took = beginning === undefined ? '' : ` after ${at - beginning.at} ms`;
  const what = [error, observed].filter((text) => text !== undefined).join('; ');
  return `${wordsOf(action)}: ${outcome}${took}${what === '' ? '' : `: ${what}`} (of row ${intent})`;
}

function wordsOf(action: string): string {
  return action.replace(/^step\./, '').replaceAll('_', ' ');
}

function entryOfEvent(event: UsherEvent): TraceEntry {
  const is = event.kind === 'usb.failed' ? 'failed' : 'seen';
  return { at: iso(event.at), is, says: printable(sayEvent(event), MAX_LENGTH), event: event.seq };
}

function sayEvent(event: UsherEvent): string {
  switch (event.kind) {
    case 'usb.plugged':
      return `plugged: ${event.body.product} (${event.body.deviceId})`;
    case 'usb.unplugged':
      return `unplugged (${event.body.deviceId})`;
    case 'usb.attached':
      return `attached to ${event.body.name} ${event.body.slot}: ${event.body.why}`;
    case 'usb.detached':
      return `detached from ${event.body.name}: ${event.body.why}`;
    case 'usb.failed': {
      const { message, retryMs } = event.body;
      return `${message}${retryMs === undefined ? '' : ` Next try in ${seconds(retryMs)}.`}`;
    }
    default:
      return `${event.kind} ${plainJson(event.body)}`;
  }
}

/** The verdict, and what the attacher is at; nothing of a device that is neither plugged nor attached. */
function sayNow({ router, fleet, clock }: Parts, device: string): string[] {
  const verdict = router.verdictOf(device);
  const memory = router.planInput().memory.get(device);
  const nameOf = (vm: Parameters<typeof fleet.nameOf>[0]) => fleet.nameOf(vm);
  const says: string[] = [];
  if (verdict !== undefined) {
    const { outcome } = verdict;
    const place = 'vm' in outcome ? ` ${nameOf(outcome.vm)}` : '';
    says.push(`${outcome.is}${place}: ${summarize(verdict, nameOf)}`);
  }
  if (memory?.inFlight !== undefined) says.push(`under way: ${memory.inFlight.kind} (${memory.state})`);
  if (memory !== undefined && memory.failures > 0) {
    const due =
      memory.retryAt === undefined ? '' : `, next try in ${seconds(Math.max(0, memory.retryAt - clock.monotonic()))}`;
    says.push(`${memory.failures} failures in a row${due}: ${memory.lastError ?? 'no reason is known'}`);
  }
  return says.map((text) => printable(text, MAX_LENGTH));
}

function plainJson(value: object): string {
  return printableJson(JSON.stringify(value));
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
