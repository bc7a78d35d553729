/** What the lines of a VM's file mean together: what does nothing, contradicts itself, or does not fit the driver. */
import type { DriverName, VirtMode } from '../model/vm.ts';
import { virtModeOf } from '../model/vm.ts';
import type { Diagnostics } from './diagnostics.ts';
import type { KeyLine } from './key-lines.ts';
import { parseControllers } from './usbctrl.ts';
import { parseBoolean, type ValueContext } from './values.ts';
import type { LinesByKey } from './vm-honours.ts';
import type { VmDraft } from './vm-key.ts';

/** Tells what is wrong with the lines together; without a driver nothing is said of what fits one. */
export function checkTogether(
  draft: VmDraft,
  lines: LinesByKey,
  driver: DriverName | undefined,
  diagnostics: Diagnostics,
): void {
  tellContradiction(lines, diagnostics);
  if (driver === undefined) {
    tellUseless(draft, lines, diagnostics);
    return;
  }
  tellUnfitKind(draft, lines, driver, diagnostics);
  tellUnfitControllers(draft, lines, driver, diagnostics);
}

/** Gives the guest kind that a line of `virtmode`, `type` or `hvm` asks for; `not hvm` for `hvm = false`. */
function kindIn({ key, value }: KeyLine): VirtMode | 'not hvm' | undefined {
  const word = value.replaceAll(/["']/g, '');
  if (key === 'hvm') return parseBoolean(word, QUIET) === true ? 'hvm' : 'not hvm';
  return word === 'pv' || word === 'pvh' || word === 'hvm' ? word : undefined;
}

/** The last line of each of the keys that say the guest kind. */
function kindLines(lines: LinesByKey): KeyLine[] {
  const last = ['virtmode', 'type', 'hvm'].flatMap((key) => lines.get(key)?.at(-1) ?? []);
  return last.sort((a, b) => a.line - b.line);
}

function tellUseless(draft: VmDraft, lines: LinesByKey, diagnostics: Diagnostics): void {
  if (draft.kernel !== undefined) return;
  for (const { key, line, keyColumn, value } of ['initrd', 'cmdline'].flatMap(
    (name) => lines.get(name)?.at(-1) ?? [],
  )) {
    if (value !== '') diagnostics.warn(line, keyColumn, `"${key}" does nothing without a "kernel".`);
  }
}

function tellContradiction(lines: LinesByKey, diagnostics: Diagnostics): void {
  const [first, ...others] = kindLines(lines).map((line) => ({ line, kind: kindIn(line) }));
  for (const { line, kind } of others) {
    if (first === undefined || kind === undefined || first.kind === undefined || agree(kind, first.kind)) continue;
    const before = `"${first.line.key}" in line ${first.line.line} says ${first.kind}`;
    diagnostics.error(line.line, line.keyColumn, `"${line.key}" says ${kind}, and ${before}: say it once.`);
  }
}

function agree(a: VirtMode | 'not hvm', b: VirtMode | 'not hvm'): boolean {
  if (a === 'not hvm') return b !== 'hvm';
  return b === 'not hvm' ? a !== 'hvm' : a === b;
}

/** A paravirtual guest has no firmware that could find a kernel on a disk. */
function tellUnfitKind(draft: VmDraft, lines: LinesByKey, driver: DriverName, diagnostics: Diagnostics): void {
  const line = kindLines(lines).at(-1);
  const { virtMode, kernel } = draft;
  if (line === undefined || virtMode === undefined || virtMode === 'hvm') return;
  if (driver === 'xen' && kernel === undefined) {
    diagnostics.error(line.line, line.keyColumn, `A guest of the kind ${virtMode} needs a "kernel".`);
  }
}

/** QEMU emulates controllers; a PV controller is Xen's, and its guests of the kinds pv and pvh have no other. */
function tellUnfitControllers(draft: VmDraft, lines: LinesByKey, driver: DriverName, diagnostics: Diagnostics): void {
  const kind = virtModeOf({ ...draft, driver });
  for (const { value, line, valueColumn } of lines.get('usbctrl') ?? []) {
    for (const { type } of parseControllers(value, QUIET) ?? []) {
      const isPv = type === 'qusb' || type === 'pv';
      const what = `a USB controller of the type ${type}`;
      if (driver === 'qemu' && isPv) {
        diagnostics.error(line, valueColumn, `Only Xen has ${what}; with qemu it is devicemodel, or auto.`);
      } else if (driver === 'xen' && type === 'devicemodel' && kind !== 'hvm') {
        diagnostics.error(
          line,
          valueColumn,
          `Only a guest of the kind hvm has ${what}; with ${kind} it is qusb, or auto.`,
        );
      } else if (driver === 'xen' && type === 'pv') {
        diagnostics.warn(line, valueColumn, `For ${what} dom0 needs the module usbback, which Linux lacks: take qusb.`);
      }
    }
  }
}

/** Values are read a second time here: what is wrong with them has been told. */
const QUIET: ValueContext = { key: 'usbctrl', folder: undefined, error: () => undefined, warn: () => undefined };
