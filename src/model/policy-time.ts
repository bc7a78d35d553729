/** Hours and days in rules, in local time: ranges of hours that may pass midnight, days of the week. Pure. */
import { printable } from '../lib/text.ts';
import { DAYS, type Day, type RuleConditions } from './policy.ts';
import type { Reading } from './policy-patterns.ts';

/** A moment of the week: the day, and minutes since midnight. */
export interface LocalTime {
  readonly day: Day;
  readonly minute: number;
}

const DAY_MINUTES = 24 * 60;

/** Gives the moment of the week in the time zone of this process; `now` is in milliseconds since 1970. */
export function localTimeOf(now: number): LocalTime {
  const date = new Date(now);
  // Dates count days from Sunday.
  return { day: DAYS[(date.getDay() + 6) % 7] ?? 'Mon', minute: date.getHours() * 60 + date.getMinutes() };
}

/** Reads `22:00-06:00`; the end is not in it, and may be 24:00. */
export function readHours(untrustedText: string): Reading<string> {
  const shown = printable(untrustedText, 40);
  const [, from, to] = /^\s*([0-9]{1,2}:[0-9]{2})\s*-\s*([0-9]{1,2}:[0-9]{2})\s*$/.exec(untrustedText) ?? [];
  const [start, end] = [from, to].map((text) => (text === undefined ? undefined : minuteOf(text)));
  if (start === undefined || end === undefined || start === DAY_MINUTES) {
    return { wrong: `"${shown}" is no range of hours: write 08:00-18:00, or 22:00-06:00 over midnight` };
  }
  if (start === end) return { wrong: `"${shown}" ends when it begins; for the whole day write 00:00-24:00` };
  return { value: `${formatMinute(start)}-${formatMinute(end)}` };
}

/** Reads `Mon` or `Mon-Fri`, also with whole names, in any case; a range may pass Sunday. */
export function readDays(untrustedText: string): Reading<readonly Day[]> {
  const ends = untrustedText.split('-').map((text) => dayOf(text.trim()));
  const [first, last = first, ...rest] = ends;
  if (first === undefined || last === undefined || ends.includes(undefined) || rest.length > 0) {
    return { wrong: `"${printable(untrustedText, 40)}" is no day: write ${DAYS.join(', ')}, or Mon-Fri` };
  }
  const days: Day[] = [];
  for (let i = DAYS.indexOf(first); ; i = (i + 1) % DAYS.length) {
    const day = DAYS[i];
    if (day !== undefined) days.push(day);
    if (day === last || day === undefined) return { value: days };
  }
}

/** Reads `Mon 09:00`. */
export function readMoment(untrustedText: string): Reading<string> {
  const [dayText = '', minuteText = '', ...rest] = untrustedText.trim().split(/\s+/);
  const day = dayOf(dayText);
  const minute = /^[0-9]{1,2}:[0-9]{2}$/.test(minuteText) ? minuteOf(minuteText) : undefined;
  if (day === undefined || minute === undefined || minute === DAY_MINUTES || rest.length > 0) {
    return { wrong: `"${printable(untrustedText, 40)}" is no moment of the week: write Mon 09:00` };
  }
  return { value: formatMoment({ day, minute }) };
}

/** Gives the moment that {@link readMoment} read. */
export function momentOf(moment: string): LocalTime {
  const [day = 'Mon', minute = '00:00'] = moment.split(' ');
  return { day: day as Day, minute: minuteOf(minute) ?? 0 };
}

/** Writes a moment as `Mon 09:00`. */
export function formatMoment({ day, minute }: LocalTime): string {
  return `${day} ${formatMinute(minute)}`;
}

/** Makes the function that tells whether a moment is in the hours and days of a rule; `undefined` when it has none. */
export function compileTime({ time, days }: RuleConditions): ((at: LocalTime) => boolean) | undefined {
  if (time === undefined && days === undefined) return undefined;
  const ranges = (time ?? ['00:00-24:00']).map((range) => {
    const [start = 0, end = DAY_MINUTES] = range.split('-').map((text) => minuteOf(text));
    return { start, end };
  });
  const isOn = (day: Day) => days === undefined || days.includes(day);
  return ({ day, minute }) =>
    ranges.some(({ start, end }) => {
      if (start < end) return minute >= start && minute < end && isOn(day);
      return (minute >= start && isOn(day)) || (minute < end && isOn(dayBefore(day)));
    });
}

function dayBefore(day: Day): Day {
  return DAYS[(DAYS.indexOf(day) + 6) % 7] ?? day;
}

function dayOf(text: string): Day | undefined {
  const lower = text.toLowerCase();
  if (!/^(mon|tue(s)?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?$/.test(lower)) return undefined;
  return DAYS.find((day) => lower.startsWith(day.toLowerCase()));
}

function minuteOf(text: string): number | undefined {
  const [hours = 0, minutes = 0] = text.split(':').map(Number);
  const minute = hours * 60 + minutes;
  return hours <= 24 && minutes < 60 && minute <= DAY_MINUTES ? minute : undefined;
}

function formatMinute(minute: number): string {
  return [Math.floor(minute / 60), minute % 60].map((part) => String(part).padStart(2, '0')).join(':');
}
