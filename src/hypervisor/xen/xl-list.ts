/**
 * Reads `xl list -v`: which domains there are, in what state, and why those that ended did. Pure and strict: what it does
 * not know line by line is no answer at all. The form is that of xl_list.c, the same from Xen 4.4 to 4.21.
 */
import { printable } from '../../lib/text.ts';
import type { VmUuid } from '../../model/ids.ts';

/** Why a domain shut down, as Xen counts (public/sched.h, `SHUTDOWN_*`). */
export const SHUTDOWN_REASON = {
  powerOff: 0,
  reboot: 1,
  suspend: 2,
  crash: 3,
  watchdog: 4,
  softReset: 5,
} as const;

/** A domain as xl lists it. */
export interface ListedDomain {
  readonly domid: number;
  /** As the domain's creator gave it. All zero: it was given none. */
  readonly uuid: VmUuid;
  /** Given by whoever made the domain; `(null)` when xenstore has lost it. */
  readonly untrustedName: string;
  readonly isPaused: boolean;
  /** It has shut down and is kept, for this reason: one of `SHUTDOWN_REASON`, or another number. */
  readonly shutdownReason?: number;
  /** It is being destroyed: nothing of it will come back. */
  readonly isDying: boolean;
  /** Of all its virtual CPUs, to a tenth of a second; 0 until its first instructions. */
  readonly cpuSeconds: number;
}

const HEADER = /^Name +ID +Mem VCPUs\s+State\s+Time\(s\)\s+UUID\s+Reason-Code\s+Security Label\s*$/;
/** Read from its end: the name may have spaces. */
const ROW = new RegExp(
  [
    '^(?<name>.*?) +(?<domid>\\d{1,5}) +\\d+ +\\d+ +',
    '(?<state>[r-][b-][p-][s-][-rscwS?][d-]) +(?<time>\\d+\\.\\d) ',
    '(?<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) +(?<reason>-|[0-9a-f]{1,8}) +(?<label>\\S+)$',
  ].join(''),
  'us',
);
/** By reason; a reason without a letter is shown as `?`. */
const REASON_LETTERS = '-rscwS';
/** Above is no domain (public/xen.h, `DOMID_FIRST_RESERVED`). */
const MAX_DOMID = 0x7fef;

/** Says what is wrong with an answer. */
export class XlListError extends Error {
  constructor(what: string) {
    super(`"xl list -v" is not understood: ${what}`);
    this.name = 'XlListError';
  }
}

/**
 * Gives the domains, without dom0. @throws XlListError for anything but a header, one row for dom0 and one for each other
 * domain
 */
export function parseXlList(untrustedText: string): ListedDomain[] {
  if (!untrustedText.endsWith('\n')) throw new XlListError('its last line is cut off');
  const [header = '', ...rows] = untrustedText.slice(0, -1).split('\n');
  if (!HEADER.test(header)) throw new XlListError(`it begins with "${printable(header, 80)}"`);
  const domains = rows.map(parseRow);
  const domids = new Set(domains.map(({ domid }) => domid));
  if (domids.size !== domains.length) throw new XlListError('it has a domain twice');
  if (!domids.has(0)) throw new XlListError('it lacks dom0');
  return domains.filter(({ domid }) => domid !== 0);
}

function parseRow(row: string): ListedDomain {
  const { name, domid, state, time, uuid, reason } = ROW.exec(row)?.groups ?? {};
  const refuse = (): XlListError => new XlListError(`it has the line "${printable(row, 160)}"`);
  if (name === undefined || domid === undefined || state === undefined || Number(domid) > MAX_DOMID) throw refuse();
  const [isShutDown, letter] = [state[3] === 's', state[4]];
  if (isShutDown !== (reason !== '-')) throw refuse();
  const shutdownReason = Number.parseInt(reason ?? '', 16);
  if (letter !== (isShutDown ? (REASON_LETTERS[shutdownReason] ?? '?') : '-')) throw refuse();
  return {
    domid: Number(domid),
    uuid: uuid as VmUuid,
    untrustedName: name,
    isPaused: state[2] === 'p',
    isDying: state[5] === 'd',
    cpuSeconds: Number(time),
    ...(isShutDown ? { shutdownReason } : {}),
  };
}
