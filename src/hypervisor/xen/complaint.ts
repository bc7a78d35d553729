/** What xl complains of on its stderr, brought down to the one line that says why. Pure; the text is untrusted. */
import { printable } from '../../lib/text.ts';

/** Where a library says it: `libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain 2:`. */
const LIBRARY_ERROR = /^(?:libxl|libxlu|xc|xencall|xenstore): error: (?:[\w./-]+:\d+:\w+: )?(?:Domain \d+:)?\s*/;
/** Said of every failure and of none in particular, or of what xl does about the failure. */
const HOLLOW =
  /^(?:Restore failed|Destruction of domain failed|Unable to destroy guest|Non-existant domain|cannot make)/;
/** What xl itself tells while all goes well. */
const CHATTER =
  /^(?:xc: (?:info|progress):|Saving to |Loading new save file | Savefile contains|Parsing config |Shutting down )/;
const MAX_LENGTH = 400;

/**
 * Gives the line that says why xl failed, escaped for people; `undefined` when it said nothing. libxl tells the cause first
 * and then what came of it, up through its callers; xl's own words are a single line, the last.
 */
export function complaintOf(untrustedStderr: string): string | undefined {
  const lines = untrustedStderr.split('\n').filter((line) => line.trim() !== '' && !CHATTER.test(line));
  const errors = lines.filter((line) => LIBRARY_ERROR.test(line)).map((line) => line.replace(LIBRARY_ERROR, ''));
  const line = errors.find((words) => !HOLLOW.test(words)) ?? errors[0] ?? lines.at(-1);
  return line === undefined
    ? undefined
    : printable(line.trim().replace(/ \(0 = Success\): Internal error$/, ''), MAX_LENGTH);
}

/** Tells whether a library of xl's complained: some commands end with status 0 all the same (`xl pause` of no domain). */
export function hasLibraryError(untrustedStderr: string): boolean {
  return untrustedStderr.split('\n').some((line) => LIBRARY_ERROR.test(line));
}
