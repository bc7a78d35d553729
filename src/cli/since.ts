/** Times in the past, as people write them: how long ago, or a date. */
import { Fault } from '../lib/fault.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

export const SINCE_FORMS = '90s, 15m, 2h, 3d, 1w ago, or 2026-11-21, 2026-11-21T10:00';

/**
 * Reads `2h`, `1d12h`, or a date of ISO 8601, local unless it says otherwise; gives milliseconds since 1970.
 * @throws Fault `usage`
 */
export function parseSince(text: string, option: string, now: number): number {
  const parts = /^(?:\d{1,9}[smhdw])+$/.test(text) ? (text.match(/\d+[smhdw]/g) ?? []) : [];
  if (parts.length > 0) {
    const agoMs = parts.reduce((sum, part) => sum + Number(part.slice(0, -1)) * (UNIT_MS[part.slice(-1)] ?? 0), 0);
    return Math.max(0, now - agoMs);
  }
  const at = dateOf(text.replace(' ', 'T'));
  if (Number.isNaN(at))
    throw new Fault('usage', { what: `${option} expects a time such as ${SINCE_FORMS}, not "${text}"` });
  return at;
}

/** Takes no other forms than ISO 8601's, of which `Date.parse` would guess much, and no 31st of February. */
function dateOf(text: string): number {
  const form = /^(\d{4})-(\d{2})-(\d{2})(T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/;
  const [, year, month, day, time = 'T00:00'] = form.exec(text) ?? [];
  if (
    year === undefined ||
    new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() !== Number(day)
  ) {
    return Number.NaN;
  }
  // A bare date would be midnight in Greenwich.
  return Date.parse(`${year}-${month}-${day}${time}`);
}
