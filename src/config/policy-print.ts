/** A policy as text: what policy-file.ts reads as the same policy, but for comments and lines. */
import { printableJson } from '../lib/text.ts';
import {
  CLASS_PARTS,
  type ClassMatch,
  type Expectation,
  formatAction,
  type Policy,
  type Rule,
  type RuleAction,
  type RuleMatch,
} from '../model/policy.ts';
import { EVERYTHING } from './policy-match-file.ts';

/** Prints a policy as YAML: `parsePolicy` gives it again, with the lines of the printed text. */
export function printPolicy({ mode, rules, expect }: Policy): string {
  const parts = [`mode: ${mode}`, list('rules', rules.map(printRule))];
  if (expect.length > 0) parts.push(list('expect', expect.map(printExpectation)));
  return `${parts.join('\n\n')}\n`;
}

function list(key: string, items: readonly (readonly string[])[]): string {
  if (items.length === 0) return `${key}: []`;
  const blocks = items.map((lines) => lines.map((line, i) => `${i === 0 ? '  - ' : '    '}${line}`).join('\n'));
  return `${key}:\n${blocks.join('\n')}`;
}

function printRule({ name, match, action, when }: Rule): string[] {
  return [
    ...(name === undefined ? [] : [`name: ${text(name)}`]),
    ...printMatch(match),
    printAction(action),
    ...(when === undefined ? [] : [`when: ${map(when)}`]),
  ];
}

function printMatch(match: RuleMatch): string[] {
  const { class: classMatch, ...others } = match;
  const fields = Object.entries(others).map(([field, patterns]) => {
    const isId = field === 'id' || field === 'switches';
    return `  ${field}: ${texts(isId ? patterns.map(shortId) : patterns)}`;
  });
  if (classMatch !== undefined) fields.push(`  class: ${classes(classMatch)}`);
  return fields.length === 0 ? [`match: ${EVERYTHING}`] : ['match:', ...fields];
}

function printAction(action: RuleAction): string {
  switch (action.do) {
    case 'attach':
      return `attach: ${text(action.vm)}`;
    case 'ask':
      return `ask: ${texts(action.vms)}`;
    case 'deny':
      return `deny: ${action.reason === undefined ? 'true' : text(action.reason)}`;
  }
}

function printExpectation({ device, to, by, running, at }: Expectation): string[] {
  return [
    `device: ${map(device)}`,
    `to: ${text(formatAction(to))}`,
    ...(by === undefined ? [] : [`by: ${text(by)}`]),
    ...(running === undefined ? [] : [`running: ${texts(running, 'list')}`]),
    ...(at === undefined ? [] : [`at: ${text(at)}`]),
  ];
}

function classes(match: ClassMatch): string {
  const parts = CLASS_PARTS.filter((part) => match[part] !== undefined);
  if (parts.join() === 'any') return texts(match.any ?? []);
  return `{ ${parts.map((part) => `${part}: ${texts(match[part] ?? [])}`).join(', ')} }`;
}

function map(values: object): string {
  const parts = Object.entries(values).map(([key, value]) => {
    return `${key}: ${Array.isArray(value) ? texts(value) : text(String(value))}`;
  });
  return `{ ${parts.join(', ')} }`;
}

/** Leaves out the fields at the end that stand for anything; vendor and product stay. */
function shortId(pattern: string): string {
  const fields = pattern.split(':');
  while (fields.length > 2 && fields.at(-1) === '*') fields.pop();
  return fields.join(':');
}

/** One text stands alone, unless a list is asked for. */
function texts(values: readonly string[], form?: 'list'): string {
  const [first] = values;
  if (first !== undefined && values.length === 1 && form === undefined) return text(first);
  return `[${values.map(text).join(', ')}]`;
}

/** Quoted unless it can mean nothing else, in a list or not. JSON's strings are YAML's (YAML 1.2.2, 1.3). */
function text(value: string): string {
  const isPlain = /^[A-Za-z0-9][A-Za-z0-9 ._/:-]*$/.test(value) && !/: |:$| $|::/.test(value);
  return isPlain ? value : printableJson(JSON.stringify(value));
}
