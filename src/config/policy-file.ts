/**
 * The file of the policy, YAML: text to policy, with every error at its place, and what is wrong beyond the grammar. What
 * rules mean is in model/policy-*.ts, the other way round in policy-print.ts.
 */
import { withoutAbsent } from '../lib/absent.ts';
import { listWords, nearest } from '../lib/text.ts';
import {
  EMPTY_POLICY,
  type Expectation,
  type ExpectedDevice,
  POLICY_MODES,
  type Policy,
  RULE_ACTIONS,
  type Rule,
  type RuleAction,
} from '../model/policy.ts';
import { checkPolicy } from '../model/policy-check.ts';
import { readClassPattern } from '../model/policy-class.ts';
import {
  type Reading,
  readExactId,
  readLocationPattern,
  readNamePattern,
  readPortPattern,
  withoutStars,
  wordReader,
} from '../model/policy-patterns.ts';
import { readMoment } from '../model/policy-time.ts';
import { ATTACHED_AS, USB_SPEEDS } from '../model/usb.ts';
import { type Diagnostic, Diagnostics } from './diagnostics.ts';
import { readConditions, readMatch } from './policy-match-file.ts';
import { readAction, readReason, readRuleName, readVm } from './policy-texts.ts';
import { type Entries, TreeReading } from './tree-reader.ts';
import { readYaml, type Tree } from './yaml-tree.ts';

export interface ParsedPolicy {
  /** Absent when there are errors. */
  readonly policy?: Policy;
  readonly errors: readonly Diagnostic[];
  readonly warnings: readonly Diagnostic[];
}

/**
 * Parses a policy and checks it: its own expectations too. A file with nothing in it is an error, as a file is that is just
 * being written. `vms`: the names of all VMs; a VM that is not among them is a warning.
 */
export function parsePolicy(untrustedText: string, fileName: string, vms?: ReadonlySet<string>): ParsedPolicy {
  const diagnostics = new Diagnostics(fileName);
  const tree = readYaml(untrustedText, diagnostics);
  const reading = new TreeReading(diagnostics);
  if (tree === undefined && diagnostics.errors.length === 0) {
    diagnostics.error(1, 1, 'The file is empty; a policy without rules is written as "rules: []".');
  }
  const policy = tree === undefined ? undefined : readPolicy(tree, reading);
  if (diagnostics.errors.length === 0 && policy !== undefined) {
    for (const { severity, path, message } of checkPolicy(policy, vms)) {
      const { line, column } = reading.placeOf(path);
      if (severity === 'error') diagnostics.error(line, column, message);
      else diagnostics.warn(line, column, message);
    }
  }
  const { errors, warnings } = diagnostics;
  return errors.length > 0 || policy === undefined ? { errors, warnings } : { policy, errors, warnings };
}

function readPolicy(tree: Tree, reading: TreeReading): Policy | undefined {
  const entries = reading.map(tree, '', 'a policy', ['mode', 'rules', 'expect']);
  if (entries === undefined) return undefined;
  const mode = textOf(entries, 'mode', wordReader(POLICY_MODES), reading);
  const itemsOf = (key: 'rules' | 'expect') => {
    const entry = entries.get(key);
    return entry === undefined ? [] : (reading.list(entry.tree, entry.path, key) ?? []);
  };
  const rules = itemsOf('rules').map((item, i) => readRule(item, `rules.${i}`, reading));
  const expect = itemsOf('expect').map((item, i) => readExpectation(item, `expect.${i}`, reading));
  checkNames(rules, expect, reading);
  // What is missing here has been told of.
  const policy = { mode: mode ?? EMPTY_POLICY.mode, rules, expect };
  return [...rules, ...expect].includes(undefined) ? undefined : (policy as Policy);
}

function readRule(tree: Tree, path: string, reading: TreeReading): Rule | undefined {
  const entries = reading.map(tree, path, 'a rule', ['name', 'match', ...RULE_ACTIONS, 'when']);
  if (entries === undefined) return undefined;
  const name = textOf(entries, 'name', readRuleName, reading);
  const [match, when] = [entries.get('match'), entries.get('when')];
  if (match === undefined) {
    reading.missing(tree, entries, 'This rule has no "match"; for every device write "match: everything".');
  }
  const action = readRuleAction(entries, tree, reading);
  const conditions = when === undefined ? undefined : readConditions(when.tree, when.path, reading);
  if (action?.do === 'deny' && conditions?.atMost !== undefined) {
    reading.error(
      reading.placeOf(`${path}.when.atMost`),
      '"atMost" counts the devices in a VM; a rule that denies has none.',
    );
  }
  const fields = match === undefined ? undefined : readMatch(match.tree, match.path, reading);
  if (fields === undefined || action === undefined) return undefined;
  return withoutAbsent({ name, match: fields, action, when: conditions, line: tree.place.line });
}

function readRuleAction(entries: Entries, rule: Tree, reading: TreeReading): RuleAction | undefined {
  const [first, second] = [...entries].filter(([key]) => (RULE_ACTIONS as readonly string[]).includes(key));
  if (first === undefined)
    return reading.missing(rule, entries, `This rule does nothing: it has one of ${listWords(RULE_ACTIONS)}.`);
  if (second !== undefined)
    return reading.error(second[1].place, `A rule has one action, and this one has "${first[0]}".`);
  const [key, { tree, path }] = first;
  switch (key) {
    case 'attach': {
      const vm = reading.text(tree, path, readVm);
      return vm === undefined ? undefined : { do: 'attach', vm };
    }
    case 'ask': {
      const vms = reading.texts(tree, path, readVm);
      return vms === undefined ? undefined : { do: 'ask', vms };
    }
    default: {
      const reason = reading.text(tree, path, readReason);
      return reason === undefined ? undefined : { do: 'deny', ...(reason === '' ? {} : { reason }) };
    }
  }
}

function readExpectation(tree: Tree, path: string, reading: TreeReading): Expectation | undefined {
  const entries = reading.map(tree, path, 'an expectation', ['device', 'to', 'by', 'running', 'at']);
  if (entries === undefined) return undefined;
  const device = entries.get('device');
  for (const key of ['device', 'to']) {
    if (!entries.has(key)) reading.missing(tree, entries, `This expectation has no "${key}".`);
  }
  const to = textOf(entries, 'to', readAction, reading);
  const running = entries.get('running');
  const parts = {
    device: device === undefined ? undefined : readDevice(device.tree, device.path, reading),
    by: textOf(entries, 'by', readRuleName, reading),
    running: running === undefined ? undefined : readRunning(running.tree, running.path, reading),
    at: textOf(entries, 'at', readMoment, reading),
  };
  if (to === undefined || parts.device === undefined) return undefined;
  return withoutAbsent({ ...parts, device: parts.device, to, line: tree.place.line });
}

/** A list may be empty here: no VM runs. */
function readRunning(tree: Tree, path: string, reading: TreeReading): readonly string[] | undefined {
  return tree.is === 'list' && tree.items.length === 0 ? [] : reading.texts(tree, path, readVm);
}

function readDevice(tree: Tree, path: string, reading: TreeReading): ExpectedDevice | undefined {
  const keys = ['id', 'serial', 'vendor', 'product', 'class', 'port', 'location', 'speed', 'attachedAs'];
  const entries = reading.map(tree, path, 'a device', keys);
  if (entries === undefined) return undefined;
  if (entries.size === 0) return reading.missing(tree, entries, 'Nothing is said of this device.');
  const classes = entries.get('class');
  const parts = {
    id: textOf(entries, 'id', readExactId, reading),
    serial: textOf(entries, 'serial', (text) => ({ value: text }), reading),
    vendor: textOf(entries, 'vendor', readNamePattern, reading),
    product: textOf(entries, 'product', readNamePattern, reading),
    class: classes === undefined ? undefined : reading.texts(classes.tree, classes.path, readClassPattern),
    port: textOf(entries, 'port', withoutStars(readPortPattern), reading),
    location: textOf(entries, 'location', withoutStars(readLocationPattern), reading),
    speed: textOf(entries, 'speed', wordReader(USB_SPEEDS), reading),
    attachedAs: textOf(entries, 'attachedAs', wordReader(ATTACHED_AS), reading),
  };
  const [, , serial = '', interfaces] = parts.id?.split(':') ?? [];
  if (serial !== '' && parts.serial !== undefined) {
    reading.error(reading.placeOf(`${path}.serial`), 'The serial number stands in "id" already.');
  }
  if (interfaces !== undefined && parts.class !== undefined) {
    reading.error(reading.placeOf(`${path}.class`), 'The interfaces stand in "id" already.');
  }
  return withoutAbsent(parts);
}

/** Names of rules are there once, and expectations name none that is not there. */
function checkNames(
  rules: readonly (Rule | undefined)[],
  expect: readonly (Expectation | undefined)[],
  reading: TreeReading,
): void {
  const lines = new Map<string, number>();
  for (const [i, rule] of rules.entries()) {
    if (rule?.name === undefined) continue;
    const before = lines.get(rule.name);
    if (before === undefined) lines.set(rule.name, rule.line ?? 0);
    else
      reading.error(reading.placeOf(`rules.${i}.name`), `The rule in line ${before} is called "${rule.name}" already.`);
  }
  for (const [i, expectation] of expect.entries()) {
    const name = expectation?.by;
    if (name === undefined || lines.has(name) || rules.includes(undefined)) continue;
    const meant = nearest(name, lines.keys());
    const guess = meant === undefined ? '' : ` Did you mean "${meant}"?`;
    reading.error(reading.placeOf(`expect.${i}.by`), `There is no rule "${name}".${guess}`);
  }
}

function textOf<T>(
  entries: Entries,
  key: string,
  reader: (text: string) => Reading<T>,
  reading: TreeReading,
): T | undefined {
  const entry = entries.get(key);
  return entry === undefined ? undefined : reading.text(entry.tree, entry.path, reader);
}
