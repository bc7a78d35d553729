/**
 * Who may do what with a node: `n0`, `r5`. The first entry names the owner, who may do everything, and what everybody
 * who is not listed may do (xenstore.txt). Dom0 may always do everything.
 */
import { Fault } from '../../lib/fault.ts';

export interface Permission {
  /** 0 to 65535. */
  readonly domid: number;
  readonly access: 'none' | 'read' | 'write' | 'both';
}

export const MAX_DOMID = 65_535;

const ACCESS = { n: 'none', r: 'read', w: 'write', b: 'both' } as const;
const LETTERS = { none: 'n', read: 'r', write: 'w', both: 'b' } as const;
const FORM = /^([nrwb])(\d{1,5})$/;

/** Reads an entry as xenstored writes it; `undefined` when it is none. */
export function parsePermission(untrustedText: string): Permission | undefined {
  const [, letter, digits] = FORM.exec(untrustedText) ?? [];
  if (letter === undefined || digits === undefined || Number(digits) > MAX_DOMID) return undefined;
  return { domid: Number(digits), access: ACCESS[letter as keyof typeof ACCESS] };
}

/** Writes an entry as xenstored reads it. @throws Fault `params.invalid` */
export function formatPermission({ domid, access }: Permission): string {
  return `${LETTERS[access]}${checkDomid(domid)}`;
}

/** Gives the domain's number back. @throws Fault `params.invalid` when it is none */
export function checkDomid(domid: number): number {
  if (Number.isInteger(domid) && domid >= 0 && domid <= MAX_DOMID) return domid;
  throw new Fault('params.invalid', { field: 'domid', what: `${domid} is not between 0 and ${MAX_DOMID}` });
}
