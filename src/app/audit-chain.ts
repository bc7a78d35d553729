/** The chain of hashes through the audit trail: how a row hangs on the one before it, and what a check finds. No I/O. */
import { createHash } from 'node:crypto';
import type { AuditVerification } from '../api/views.ts';
import type { Anchor } from '../model/audit-anchor.ts';

export interface StoredRow {
  readonly row: number;
  /** Canonical JSON of all of the row but its hash. */
  readonly body: string;
  readonly hash: string;
}

/** The number and the hash of a row; before the first row there is number 0. */
export type Link = Pick<StoredRow, 'row' | 'hash'>;

/** What stands for the hash before the first row. */
export const FIRST_LINK: Link = { row: 0, hash: '0'.repeat(64) };

/** Gives the hash of a row: SHA-256 over the hash before it, a line feed, and its body. */
export function chain(before: string, body: string): string {
  return createHash('sha256').update(before).update('\n').update(body).digest('hex');
}

/** What is known from outside of how the trail was. */
export interface Proof {
  /** The hash of a former head, of whichever row. */
  readonly head?: string | undefined;
  readonly anchors?: readonly Anchor[] | undefined;
}

/** A check under way: rows are handed in from the first on, in order, then the verdict is asked for. */
export class ChainCheck {
  readonly #head: string | undefined;
  readonly #anchors = new Map<number, Set<string>>();
  #last = FIRST_LINK;
  #wrong: string | undefined;
  #headRow: number | undefined;
  /** The newest row that an anchor vouches for, and the first that one contradicts. */
  #vouched = 0;
  #contradicted: number | undefined;

  constructor({ head, anchors = [] }: Proof) {
    this.#head = head?.toLowerCase();
    for (const { row, hash } of anchors) {
      const hashes = this.#anchors.get(row) ?? new Set();
      this.#anchors.set(row, hashes.add(hash));
    }
  }

  /** The last row that is as it was written. */
  get last(): Link {
    return this.#last;
  }

  /** Takes the next row; gives whether there is any use in going on. */
  take(stored: StoredRow): boolean {
    this.#wrong = findWrong(stored, this.#last);
    if (this.#wrong !== undefined) return false;
    if (stored.hash === this.#head) this.#headRow = stored.row;
    const hashes = this.#anchors.get(stored.row);
    if (hashes?.size === 1 && hashes.has(stored.hash)) this.#vouched = stored.row;
    else if (hashes !== undefined) this.#contradicted ??= stored.row;
    this.#last = stored;
    return true;
  }

  /** Says what was found, after the last row. */
  verdict(): AuditVerification {
    const { row: rows, hash: head } = this.#last;
    const bad = (says: string): AuditVerification => ({ rows, head, isIntact: false, says });
    if (this.#wrong !== undefined) return bad(this.#wrong);
    const chained = rows === 1 ? 'The only row is intact' : `All ${rows} rows hang together`;
    if (this.#contradicted !== undefined) {
      const since = this.#vouched === 0 ? 'the first on' : `${this.#vouched + 1} on`;
      const what = `row ${this.#contradicted} is not the one that its anchor names`;
      return bad(`${chained}, but ${what}: rows from ${since} were made anew, or this is another trail.`);
    }
    const newest = Math.max(0, ...this.#anchors.keys());
    if (newest > rows) {
      return bad(`${chained}, but there were ${newest}, by an anchor: rows ${rows + 1} to ${newest} were cut off.`);
    }
    if (this.#head !== undefined && this.#headRow === undefined) {
      return bad(`${chained}, but none has the head you gave: rows were cut off at the end, or this is another trail.`);
    }
    const vouches = [
      ...(this.#headRow === undefined ? [] : [`the head you gave is row ${this.#headRow}`]),
      ...(newest === 0 ? [] : [`${count(this.#anchors.size, 'anchor')} agree, up to row ${newest}`]),
    ];
    if (vouches.length === 0) {
      const advice =
        'Keep this head elsewhere and give it to a later check, or check against the system log (--anchors).';
      return {
        rows,
        head,
        isIntact: true,
        says: `${chained}. Rows cut off at the end cannot be seen from the trail alone. ${advice}`,
      };
    }
    const upTo = Math.max(this.#headRow ?? 0, newest);
    const rest = upTo === rows ? '' : ` Whether any after row ${upTo} were, cannot be seen.`;
    return {
      rows,
      head,
      isIntact: true,
      says: `${chained}, and ${vouches.join(', and ')}: up to there none was cut off.${rest}`,
    };
  }
}

/** Says what is wrong with a row that comes after `last`. */
function findWrong({ row, body, hash }: StoredRow, last: Link): string | undefined {
  if (row !== last.row + 1) {
    const missing = row === last.row + 2 ? `Row ${last.row + 1} is` : `Rows ${last.row + 1} to ${row - 1} are`;
    return `${missing} missing.`;
  }
  if (hash === chain(last.hash, body)) return undefined;
  const own = rowOf(body);
  if (own !== row) return `Row ${row} holds what was row ${own ?? 'of another trail'}: rows were moved.`;
  if (row === 1) return 'Row 1 was changed after it was written.';
  return `Row ${row} was changed after it was written, or row ${row - 1} was and its own hash made anew.`;
}

function rowOf(body: string): number | undefined {
  try {
    const { row } = JSON.parse(body) as { row?: unknown };
    return typeof row === 'number' ? row : undefined;
  } catch {
    return undefined;
  }
}

function count(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`;
}
