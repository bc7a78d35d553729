/** The file of the daemon's settings, YAML: text to settings, with every error at its place. */
import { isCollection, isMap, isNode, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { nearest, printable } from '../lib/text.ts';
import { type Diagnostic, Diagnostics } from './diagnostics.ts';
import { DEFAULT_SETTINGS, SETTINGS, type Settings } from './settings.ts';

export interface ParsedSettings {
  /** Absent when there are errors. */
  readonly settings?: Settings;
  readonly errors: readonly Diagnostic[];
  readonly warnings: readonly Diagnostic[];
}

/** Parses settings; what the text does not name has its default. A setting that there is not is a warning. */
export function parseSettings(untrustedText: string, fileName: string): ParsedSettings {
  const diagnostics = new Diagnostics(fileName);
  const lineCounter = new LineCounter();
  const document = parseDocument(untrustedText, { lineCounter, prettyErrors: false, logLevel: 'silent' });
  const at = (offset: number | undefined) => {
    const { line, col } = lineCounter.linePos(offset ?? 0);
    return [Math.max(1, line), Math.max(1, col)] as const;
  };
  for (const { pos, message } of document.errors) diagnostics.error(...at(pos[0]), `${printable(message, 300)}.`);
  for (const { pos, message } of document.warnings) diagnostics.warn(...at(pos[0]), `${printable(message, 300)}.`);

  /** Where a nested value has the flaw, or the innermost that is there on the way. */
  const placeIn = (value: unknown, path: readonly (string | number)[]) => {
    let found = isNode(value) ? value : undefined;
    for (const key of path) {
      const inner: Node | undefined = isCollection(found) ? (found.get(key, true) as Node | undefined) : undefined;
      if (!isNode(inner)) break;
      found = inner;
    }
    return found?.range ? at(found.range[0]) : undefined;
  };
  const settings: Record<string, unknown> = { ...DEFAULT_SETTINGS };
  const { contents } = document;
  if (isMap(contents)) {
    for (const { key, value } of contents.items) {
      const name = isScalar(key) ? String(key.value) : '';
      const place = at(isScalar(key) ? key.range?.[0] : contents.range?.[0]);
      if (!Object.hasOwn(SETTINGS, name)) {
        diagnostics.warn(...place, unknownSetting(name));
        continue;
      }
      const row = SETTINGS[name as keyof Settings];
      if ('read' in row) {
        const result = row.read(isNode(value) ? value.toJS(document) : undefined);
        if ('value' in result) settings[name] = result.value;
        else for (const { path, says } of result.flaws) diagnostics.error(...(placeIn(value, path) ?? place), says);
        continue;
      }
      const untrustedValue = isScalar(value) ? value.value : undefined;
      if (row.accepts(untrustedValue)) settings[name] = untrustedValue;
      else diagnostics.error(...(isScalar(value) ? at(value.range?.[0]) : place), `"${name}" is ${row.takes}.`);
    }
  } else if (contents !== null && !(isScalar(contents) && contents.value === null)) {
    diagnostics.error(1, 1, 'Settings are written as "name: value", one a line.');
  }
  const { errors, warnings } = diagnostics;
  return errors.length > 0 ? { errors, warnings } : { settings: settings as unknown as Settings, errors, warnings };
}

function unknownSetting(name: string): string {
  const known = name.length > 40 ? undefined : nearest(name, Object.keys(SETTINGS));
  const guess = known === undefined ? '' : ` Did you mean "${known}"?`;
  return `There is no setting "${printable(name, 40)}".${guess}`;
}
