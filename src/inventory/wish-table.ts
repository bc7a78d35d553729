/** The assignments and holds of usher.db, held in memory too: every pass of the planner asks for them. */
import { Fault } from '../lib/fault.ts';
import type { Database, Statement } from '../lib/sqlite.ts';
import { type Assignment, formatDevicePattern, type Hold, parseDevicePattern } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';

interface AssignmentRow {
  readonly id: number;
  readonly vm: string;
  readonly pattern: string;
  readonly mode: string;
  readonly created_at: number;
}

interface HoldRow {
  readonly backend: string;
  readonly busid: string;
  readonly generation: string;
  readonly kind: string;
  readonly vm: string | null;
  readonly controller: number | null;
  readonly port: number | null;
  readonly origin: string;
  readonly forced: number;
  readonly created_at: number;
  readonly device_id: string | null;
}

/** INVARIANTS: what is in memory is what the rows say, until another process writes; then `forget` is called. */
export class WishTable {
  readonly #selectAssignments: Statement<AssignmentRow>;
  readonly #findAssignment: Statement<{ readonly id: number }>;
  readonly #insertAssignment: Statement<never>;
  readonly #deleteAssignment: Statement<never>;
  readonly #selectHolds: Statement<HoldRow>;
  readonly #putHold: Statement<never>;
  readonly #deleteHold: Statement<never>;
  #assignments: readonly Assignment[] | undefined;
  #holds: readonly Hold[] | undefined;

  constructor(database: Database) {
    this.#selectAssignments = database.prepare('SELECT * FROM assignment ORDER BY id');
    this.#findAssignment = database.prepare('SELECT id FROM assignment WHERE vm = ? AND pattern = ?');
    this.#insertAssignment = database.prepare(
      'INSERT INTO assignment (vm, pattern, mode, created_at) VALUES (?, ?, ?, ?)',
    );
    this.#deleteAssignment = database.prepare('DELETE FROM assignment WHERE id = ?');
    this.#selectHolds = database.prepare('SELECT * FROM hold ORDER BY backend, busid');
    this.#putHold = database.prepare(
      `INSERT OR REPLACE INTO hold
         (backend, busid, generation, device_id, kind, vm, controller, port, forced, origin, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#deleteHold = database.prepare('DELETE FROM hold WHERE backend = ? AND busid = ? AND generation = ?');
  }

  assignments(): readonly Assignment[] {
    this.#assignments ??= this.#selectAssignments.all().map(toAssignment);
    return this.#assignments;
  }

  /** Adds an assignment; legal inside a transaction. @throws Fault `assignment.exists` */
  addAssignment({ vm, pattern, mode, createdAt }: Omit<Assignment, 'id'>): Assignment {
    const text = formatDevicePattern(pattern);
    const same = this.#findAssignment.get(vm, text);
    if (same !== undefined) {
      const hint = `To change its mode, remove it first: usher usb unassign ${same.id}`;
      throw new Fault('assignment.exists', { assignment: same.id }, { hint });
    }
    const id = this.#insertAssignment.run(vm, text, mode, createdAt).lastId;
    this.forget();
    return { id, vm, pattern, mode, createdAt };
  }

  /** Removes an assignment; tells whether it was there. */
  removeAssignment(id: number): boolean {
    this.forget();
    return this.#deleteAssignment.run(id).changes > 0;
  }

  holds(): readonly Hold[] {
    this.#holds ??= this.#selectHolds.all().map(toHold);
    return this.#holds;
  }

  /** Writes a hold in the place of any other on that device. */
  putHold({ backend, busid, generation, deviceId, kind, vm, slot, isForced, by, createdAt }: Hold): void {
    const what = [generation, deviceId ?? null, kind, vm ?? null];
    const place = [slot?.controller ?? null, slot?.port ?? null];
    this.#putHold.run(backend, busid, ...what, ...place, Number(isForced === true), by, createdAt);
    this.forget();
  }

  /** Removes a hold if it is still about that plug of the device; tells whether it was there. */
  dropHold({ backend, busid, generation }: Pick<Hold, 'backend' | 'busid' | 'generation'>): boolean {
    this.forget();
    return this.#deleteHold.run(backend, busid, generation).changes > 0;
  }

  /** Reads everything anew when it is next asked for. */
  forget(): void {
    this.#assignments = undefined;
    this.#holds = undefined;
  }
}

function toAssignment(row: AssignmentRow): Assignment {
  return {
    id: row.id,
    vm: row.vm as VmUuid,
    pattern: parseDevicePattern(row.pattern),
    mode: row.mode as Assignment['mode'],
    createdAt: row.created_at,
  };
}

function toHold(row: HoldRow): Hold {
  const { backend, busid, generation, device_id, kind, vm, controller, port, forced, origin, created_at } = row;
  return {
    ...{ backend, busid, generation, kind: kind as Hold['kind'] },
    ...(device_id === null ? {} : { deviceId: device_id }),
    ...(vm === null ? {} : { vm: vm as VmUuid }),
    ...(controller === null || port === null ? {} : { slot: { controller, port } }),
    ...(forced === 0 ? {} : { isForced: true }),
    by: origin as Hold['by'],
    createdAt: created_at,
  };
}
