/** What a text is as the file `/etc/vm/work.vm`: its settings, or its findings as they are shown. For tests only. */
import assert from 'node:assert/strict';
import { formatDiagnostic } from '../diagnostics.ts';
import type { VmSettings } from '../vm-key.ts';
import { type ParsedVmFile, parseVmFile } from '../xenvm-file.ts';

type Options = Parameters<typeof parseVmFile>[2];

export function parse(text: string, options?: Options): ParsedVmFile {
  return parseVmFile(text, '/etc/vm/work.vm', options);
}

/** Gives the settings of a text without errors. @throws AssertionError when there are some */
export function settingsOf(text: string): VmSettings {
  const { settings } = parse(text);
  assert.deepEqual(errorsOf(text), []);
  assert.ok(settings);
  return settings;
}

export function errorsOf(text: string, options?: Options): string[] {
  return parse(text, options).errors.map(formatDiagnostic);
}

export function warningsOf(text: string, options?: Options): string[] {
  return parse(text, options).warnings.map(formatDiagnostic);
}
