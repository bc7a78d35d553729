/** `--confirm`: a change that is undone unless a person confirms it in time. */
import type { TrialView } from '../api/views.ts';
import { Fault } from '../lib/fault.ts';
import type { Context, OptionSpec } from './command.ts';
import { textOption } from './values.ts';

export const CONFIRM: OptionSpec = {
  flags: '--confirm <within>',
  doc: 'undo it again unless `usher confirm` comes within that time: 30s, 2m',
};

/** Gives the seconds of `--confirm`. @throws Fault `usage` */
export function confirmSeconds(context: Context): number | undefined {
  const text = textOption(context, 'confirm');
  if (text === undefined) return undefined;
  const [, count = '', unit = 's'] = /^(\d{1,6})(s|m)?$/.exec(text) ?? [];
  const seconds = Number(count) * (unit === 'm' ? 60 : 1);
  if (count === '' || seconds < 1 || seconds > 3600) {
    throw new Fault('usage', { what: `--confirm expects a time from 1s to 60m, not "${text}"` });
  }
  return seconds;
}

/** Says what is on trial, and how it is kept. */
export function sayTrial({ id, what, until }: TrialView): string {
  return `on trial (${id}) until ${until}: ${what}. To keep it: usher confirm`;
}
