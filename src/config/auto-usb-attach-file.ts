/** The file of auto-usb-attach (`-c FILE`), YAML: text to settings, with every error at its place. */
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { nearest, printable } from '../lib/text.ts';
import { AUTO_ATTACH_SETTINGS, type AutoAttachWords } from './auto-usb-attach.ts';
import { type Diagnostic, Diagnostics } from './diagnostics.ts';

export interface ParsedAutoAttachFile {
  /** Absent when there are errors. */
  readonly words?: AutoAttachWords;
  readonly errors: readonly Diagnostic[];
  readonly warnings: readonly Diagnostic[];
}

const ROWS = Object.entries(AUTO_ATTACH_SETTINGS).map(([name, row]) => ({ name, isList: false, ...row }));

/** Parses the file. A key that there is not is a warning; a list may be written as a single value, too. */
export function parseAutoAttachFile(untrustedText: string, fileName: string): ParsedAutoAttachFile {
  const diagnostics = new Diagnostics(fileName);
  const lineCounter = new LineCounter();
  const document = parseDocument(untrustedText, { lineCounter, prettyErrors: false, logLevel: 'silent' });
  const at = (node: unknown, otherwise = 0) => {
    const { line, col } = lineCounter.linePos((node as Node | null)?.range?.[0] ?? otherwise);
    return [Math.max(1, line), Math.max(1, col)] as const;
  };
  for (const { pos, message } of document.errors) {
    diagnostics.error(...at(undefined, pos[0]), `${printable(message, 300)}.`);
  }
  const words: Record<string, unknown> = {};
  const { contents } = document;
  if (isMap(contents)) {
    for (const { key, value } of contents.items) {
      const name = isScalar(key) ? String(key.value) : '';
      const row = ROWS.find((other) => other.key === name);
      if (row === undefined) {
        diagnostics.warn(...at(key), unknownKey(name));
        continue;
      }
      const nodes = row.isList && isSeq(value) ? value.items : [value];
      const values = nodes.map((node) => row.accept(isScalar(node) ? node.value : undefined));
      for (const [i, one] of values.entries()) {
        const node = isScalar(nodes[i]) ? nodes[i] : key;
        if (one === undefined) diagnostics.error(...at(node), `"${name}" is ${row.takes}.`);
      }
      words[row.name] = row.isList ? values : values[0];
    }
  } else if (contents !== null && !(isScalar(contents) && contents.value === null)) {
    diagnostics.error(1, 1, 'The file is written as "key: value", one a line.');
  }
  const { errors, warnings } = diagnostics;
  return errors.length > 0 ? { errors, warnings } : { words, errors, warnings };
}

function unknownKey(name: string): string {
  const known =
    name.length > 40
      ? undefined
      : nearest(
          name,
          ROWS.map(({ key }) => key),
        );
  return `There is no key "${printable(name, 40)}".${known === undefined ? '' : ` Did you mean "${known}"?`}`;
}
