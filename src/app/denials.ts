/**
 * Writes into the audit trail what was denied. Not endlessly: somebody without rights could fill the disk with rows, and
 * keep it busy with flushes. What is left out of a user's minute is counted, and the count stands in his next row.
 */
import type { Clock } from '../lib/clock.ts';
import { type Fault, messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { Actor, AuditTrail } from '../model/audit.ts';

export interface Denial {
  readonly actor: Actor;
  readonly action: string;
  readonly vm?: string;
  readonly device?: string;
  readonly fault: Fault;
}

const WINDOW_MS = 60_000;
/** Rows of one user within the window. */
const MAX_ROWS = 30;

interface Meter {
  since: number;
  rows: number;
  unwritten: number;
}

export class Denials {
  readonly #audit: AuditTrail;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #meters = new Map<number, Meter>();

  constructor(options: { readonly audit: AuditTrail; readonly clock: Clock; readonly log: Log }) {
    this.#audit = options.audit;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Writes a denial down. Never throws: it is denied in any case. */
  note({ actor, action, vm, device, fault }: Denial): void {
    const meter = this.#meterOf(actor.uid);
    if (meter.rows >= MAX_ROWS) {
      meter.unwritten += 1;
      return;
    }
    meter.rows += 1;
    const { unwritten } = meter;
    meter.unwritten = 0;
    this.#log.warn(fault.message, { uid: actor.uid, pid: actor.pid });
    try {
      const intent = this.#audit.intend({ actor, action, vm, device, isCovered: true });
      const details = { error: fault.message, code: fault.code, ...(unwritten === 0 ? {} : { unwritten }) };
      this.#audit.conclude(intent, 'denied', details);
    } catch (error) {
      meter.unwritten += unwritten + 1;
      this.#log.error('what was denied cannot be written into the audit trail', { what: messageOf(error) });
    }
  }

  #meterOf(uid: number): Meter {
    const now = this.#clock.monotonic();
    const meter = this.#meters.get(uid) ?? { since: now, rows: 0, unwritten: 0 };
    if (now - meter.since >= WINDOW_MS) Object.assign(meter, { since: now, rows: 0 });
    this.#meters.set(uid, meter);
    return meter;
  }
}
