/** The commands about config files of VMs that need no daemon: `usher vm check`, `usher vm keys`. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { formatDiagnostic } from '../../config/diagnostics.ts';
import { whyNoKey } from '../../config/key-file.ts';
import { EXIT, Fault, messageOf } from '../../lib/fault.ts';
import { printable } from '../../lib/text.ts';
import { DRIVER_NAMES, type DriverName } from '../../model/vm.ts';
import type { CommandSpec, Context } from '../command.ts';
import { type Column, table } from '../print.ts';
import { show, textOption, word } from '../values.ts';

export const VM_CONFIG_COMMANDS: readonly CommandSpec[] = [
  {
    noun: 'vm',
    verb: 'check',
    about: { says: "Checks a VM's config file, and tells what the driver makes of each of its lines." },
    args: [{ name: 'file', doc: 'config file, key = value a line', completion: 'file' }],
    options: [
      { flags: '--driver <driver>', doc: "otherwise the file's own, or qemu", choices: DRIVER_NAMES },
      { flags: '--strict', doc: 'refuse keys that there are not, too' },
    ],
    examples: ['usher vm check work.cfg', 'usher vm check work.cfg --driver xen --strict'],
    run: check,
  },
  {
    noun: 'vm',
    verb: 'keys',
    about: { says: 'Tells every key of a config file: what it takes and means, and what the drivers make of it.' },
    examples: ['usher vm keys'],
    async run(context) {
      const { configHelp } = await import('../../config/vm-keys-help.ts');
      const { VM_KEYS } = await import('../../config/vm-keys.ts');
      const rows = VM_KEYS.map(({ honours, read: _, print: __, ...row }) => ({
        ...row,
        honours: Object.fromEntries(DRIVER_NAMES.map((driver) => [driver, honours[driver].says])),
      }));
      return show(context, rows, configHelp);
    },
  },
];

interface Row {
  readonly line: number;
  readonly key: string;
  readonly value: string;
  readonly does: string;
  readonly says: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'LINE', of: ({ line }) => String(line) },
  { title: 'KEY', of: ({ key }) => key },
  { title: 'VALUE', of: ({ value }) => value, yields: { turn: 1, least: 12 } },
  { title: 'IS', of: ({ does }) => does },
  { title: 'HOW OR WHY', of: ({ says }) => says },
];

async function check(context: Context): Promise<number> {
  const file = resolve(word(context, 0));
  const untrustedText = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new Fault('file.unreadable', { file, what: messageOf(error) }, { cause: error });
  });
  const { parseVmFile } = await import('../../config/xenvm-file.ts');
  const asked = textOption(context, 'driver') as DriverName | undefined;
  let driver: DriverName = 'qemu';
  const { settings, errors, warnings, verdicts } = parseVmFile(untrustedText, file, {
    isStrict: context.options['strict'] === true,
    whyNoKey,
    driverOf: (named) => {
      driver = asked ?? named ?? driver;
      return driver;
    },
  });
  const [said, warned] = [errors.map(formatDiagnostic), warnings.map(formatDiagnostic)];
  const rows = verdicts.map(({ line, key, value, honour }) => ({
    ...{ line, key, value: printable(value, 400), does: honour.does },
    says: honour.does === 'honoured' ? honour.says : honour.why,
  }));
  const isGood = settings !== undefined;
  show(context, { file, driver, isGood, errors: said, warnings: warned, lines: rows }, () =>
    [
      ...said,
      ...warned.map((line) => `${line} (warning)`),
      ...(rows.length === 0 ? [] : [table(rows, COLUMNS, context.out)]),
      ...(isGood ? [`${printable(file, 4096)} is good for the driver ${driver}.`] : []),
    ].join('\n'),
  );
  return isGood ? EXIT.ok : EXIT.usage;
}
