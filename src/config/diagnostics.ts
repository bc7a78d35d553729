/** What is wrong with a file, and where: every finding has its place, and all of them are told at once. */
import { Fault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';

/** A finding in a file. Lines and columns count from 1, columns in UTF-16 units as editors do. */
export interface Diagnostic {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** A sentence, without strings that could do harm on a terminal. */
  readonly message: string;
}

/** More findings of a kind than this are counted, not kept. */
const MAX_KEPT = 100;

/** Gathers the findings of one file. */
export class Diagnostics {
  readonly #file: string;
  readonly #errors: Diagnostic[] = [];
  readonly #warnings: Diagnostic[] = [];
  #errorCount = 0;
  #warningCount = 0;

  constructor(file: string) {
    this.#file = printable(file, 4096);
  }

  error(line: number, column: number, message: string): void {
    if (++this.#errorCount <= MAX_KEPT) this.#errors.push({ file: this.#file, line, column, message });
  }

  warn(line: number, column: number, message: string): void {
    if (++this.#warningCount <= MAX_KEPT) this.#warnings.push({ file: this.#file, line, column, message });
  }

  /** The errors in the order of their places. */
  get errors(): readonly Diagnostic[] {
    return sorted(this.#errors, this.#errorCount);
  }

  /** The warnings in the order of their places. */
  get warnings(): readonly Diagnostic[] {
    return sorted(this.#warnings, this.#warningCount);
  }
}

/** Prints a finding as `file:line:column: sentence`, as compilers do. */
export function formatDiagnostic({ file, line, column, message }: Diagnostic): string {
  return `${file}:${line}:${column}: ${message}`;
}

/** Makes the fault of a file with errors: `config.invalid`, one finding a line. */
export function configFault(errors: readonly Diagnostic[]): Fault {
  return new Fault('config.invalid', { what: errors.map(formatDiagnostic).join('\n') });
}

function sorted(kept: readonly Diagnostic[], count: number): readonly Diagnostic[] {
  const findings = kept.toSorted((a, b) => a.line - b.line || a.column - b.column);
  const last = findings.at(-1);
  if (last !== undefined && count > kept.length) {
    findings.push({ ...last, message: `And ${count - kept.length} more.` });
  }
  return findings;
}
