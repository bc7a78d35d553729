/** Judges the lines of a VM's file by what a driver makes of each: the table of `usher vm check`, and its warnings. */
import { type DriverName, virtModeOf } from '../model/vm.ts';
import type { Diagnostics } from './diagnostics.ts';
import type { KeyLine } from './key-lines.ts';
import type { Honour, VmDraft } from './vm-key.ts';
import { keyNamed } from './vm-keys.ts';

/** The lines of a file by their key's first name, in their order. */
export type LinesByKey = ReadonlyMap<string, readonly KeyLine[]>;

/** A line that counts, and what becomes of it. */
export interface Verdict extends KeyLine {
  readonly honour: Honour;
}

/** Judges each line that counts, in their order. */
export function judgeLines(draft: VmDraft, lines: LinesByKey, driver: DriverName): readonly Verdict[] {
  const guest = { kind: virtModeOf({ ...draft, driver }), draft };
  const verdicts = [...lines].flatMap(([key, all]) => {
    const row = keyNamed(key);
    if (row === undefined) return [];
    const counting = row.isList ? all : all.slice(-1);
    return counting.map((line) => ({ ...line, honour: row.honours[driver].of(line.value, guest) }));
  });
  return verdicts.sort((a, b) => a.line - b.line);
}

/** Tells what is ignored as a warning, what is refused as an error. */
export function tellVerdicts(verdicts: readonly Verdict[], driver: DriverName, diagnostics: Diagnostics): void {
  for (const { key, value, line, keyColumn, valueColumn, honour } of verdicts) {
    if (honour.does === 'refused') {
      diagnostics.error(line, valueColumn, `"${key}" is refused with ${driver}: ${honour.why}.`);
    } else if (honour.does === 'ignored' && value !== '') {
      diagnostics.warn(line, keyColumn, `"${key}" is ignored with ${driver}: ${honour.why}.`);
    }
  }
}
