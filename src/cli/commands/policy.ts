/** The commands `usher policy …` and those about changes on trial. `check` and `test` need no daemon. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { PolicyExplainView, PolicySummary } from '../../api/views.ts';
import { formatDiagnostic } from '../../config/diagnostics.ts';
import { placesOf } from '../../config/places.ts';
import { EXIT, Fault, messageOf } from '../../lib/fault.ts';
import type { ArgumentSpec, CommandSpec, Context } from '../command.ts';
import { CONFIRM, confirmSeconds, sayTrial } from '../trial.ts';
import { show, wholeNumber, word } from '../values.ts';

const FILE: ArgumentSpec = {
  name: 'policy',
  doc: 'a policy file; otherwise the one of this host',
  isOptional: true,
  completion: 'file',
};

export const POLICY_COMMANDS: readonly CommandSpec[] = [
  {
    noun: 'policy',
    verb: 'check',
    about: {
      says: 'Checks a policy file: its words, what its rules say of each other, and what it expects of itself.',
    },
    args: [FILE],
    examples: ['usher policy check', 'usher policy check ./policy.yaml'],
    run: (context) => check(context, 'check'),
  },
  {
    noun: 'policy',
    verb: 'test',
    about: { says: 'Checks a policy file, and tells how many of its expectations hold.' },
    args: [FILE],
    examples: ['usher policy test ./policy.yaml'],
    run: (context) => check(context, 'test'),
  },
  {
    noun: 'policy',
    verb: 'show',
    about: { operation: 'policy.show' },
    examples: ['usher policy show'],
    async run(context) {
      const view = await (await context.daemon()).call('policy.show', {});
      return show(context, view, () => [summarize(view), '', view.text.trimEnd()].join('\n'));
    },
  },
  {
    noun: 'policy',
    verb: 'load',
    about: { operation: 'policy.load' },
    options: [CONFIRM],
    examples: ['usher policy load', 'usher policy load --confirm 30s     # then: usher confirm'],
    async run(context) {
      const seconds = confirmSeconds(context);
      const view = await (await context.daemon()).call(
        'policy.load',
        seconds === undefined ? {} : { confirmSeconds: seconds },
      );
      return show(context, view, () =>
        [summarize(view), ...(view.trial === undefined ? [] : [sayTrial(view.trial)])].join('\n'),
      );
    },
  },
  {
    noun: 'policy',
    verb: 'diff',
    about: { operation: 'policy.diff' },
    args: [FILE],
    examples: ['usher policy diff ./policy.yaml'],
    async run(context) {
      const { text } = await read(context);
      const view = await (await context.daemon()).call('policy.diff', { content: text });
      return show(context, view, () =>
        view.changes.length === 0
          ? 'Nothing would change for the devices that are plugged.'
          : view.changes
              .map(({ device, before, after, isEffective }) => {
                const say = ({ action, rule }: { action: string; rule?: string }) =>
                  `${action}${rule === undefined ? '' : ` by ${rule}`}`;
                return `${device}: ${say(before)} -> ${say(after)}${isEffective ? '' : '  (the same is done)'}`;
              })
              .join('\n'),
      );
    },
  },
  {
    noun: 'policy',
    verb: 'explain',
    about: { operation: 'policy.explain' },
    args: [{ name: 'device', doc: 'backend:busid, such as dom0:3-1.4', completion: 'device' }],
    examples: ['usher policy explain dom0:3-1.4'],
    async run(context) {
      const view = await (await context.daemon()).call('policy.explain', { device: word(context, 0) });
      return show(context, view, () => explained(view));
    },
  },
  {
    verb: 'trials',
    about: { operation: 'trial.list' },
    examples: ['usher trials'],
    async run(context) {
      const rows = await (await context.daemon()).call('trial.list', {});
      return show(context, rows, () => (rows.length === 0 ? 'Nothing is on trial.' : rows.map(sayTrial).join('\n')));
    },
  },
  {
    verb: 'confirm',
    about: { operation: 'trial.confirm' },
    args: [{ name: 'number', doc: 'the trial; otherwise all', isOptional: true }],
    examples: ['usher confirm'],
    async run(context) {
      const number = word(context, 0);
      const params = number === '' ? {} : { trial: wholeNumber(number, 'the number of a trial') };
      const rows = await (await context.daemon()).call('trial.confirm', params);
      return show(context, rows, () => rows.map(({ id, what }) => `trial ${id} is confirmed: ${what}`).join('\n'));
    },
  },
];

async function read(context: Context): Promise<{ readonly file: string; readonly text: string }> {
  const file = word(context, 0) === '' ? placesOf(process.env).policyFile : resolve(word(context, 0));
  try {
    return { file, text: await readFile(file, 'utf8') };
  } catch (error) {
    throw new Fault('file.unreadable', { file, what: messageOf(error) });
  }
}

async function check(context: Context, as: 'check' | 'test'): Promise<number> {
  const { file, text } = await read(context);
  const { parsePolicy } = await import('../../config/policy-file.ts');
  const { policy, errors, warnings } = parsePolicy(text, file);
  const [said, warned] = [errors.map(formatDiagnostic), warnings.map(formatDiagnostic)];
  const isGood = policy !== undefined;
  const counts = isGood ? { rules: policy.rules.length, expectations: policy.expect.length } : {};
  show(context, { file, isGood, errors: said, warnings: warned, ...counts }, () => {
    const rules = `${policy?.rules.length} rules`;
    const held = `${policy?.expect.length} expectations hold`;
    const verdict = isGood ? [as === 'test' ? `${held}; ${rules}` : `${file} is good: ${rules}, ${held}`] : [];
    return [...said, ...warned.map((line) => `${line} (warning)`), ...verdict].join('\n');
  });
  return isGood ? EXIT.ok : EXIT.usage;
}

function summarize({ file, mode, rules, expectations, warnings, problem, observing }: PolicySummary): string {
  return [
    `${file}: ${rules} rules, ${expectations} expectations, mode ${mode}`,
    ...(observing === undefined ? [] : [`Assignments and rules move nothing: ${observing}.`]),
    ...(problem === undefined ? [] : [`The file is not what holds: ${problem}`]),
    ...warnings,
  ].join('\n');
}

function explained({ device, verdict, rules, guard }: PolicyExplainView): string {
  const decided = verdict?.rule === undefined ? 'no rule decides' : `${verdict.rule} decides: ${verdict.action}`;
  return [
    `${device}: ${guard === undefined ? decided : `no rule is asked: ${guard}`}`,
    ...rules.map(({ rule, decides, because }) => `${decides ? '*' : ' '} ${rule}: ${because}`),
  ].join('\n');
}
