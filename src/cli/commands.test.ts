/** The table of commands as a whole, against the table of operations. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Option } from 'commander';
import * as v from 'valibot';
import type { Client } from '../api/client.ts';
import { OPERATIONS, type OperationName } from '../api/operations.ts';
import { Fault, isFault } from '../lib/fault.ts';
import type { CommandSpec, OptionSpec } from './command.ts';
import { SYSTEM_COMMANDS } from './commands/system.ts';
import { USB_COMMANDS } from './commands/usb.ts';
import { VM_COMMANDS } from './commands/vm.ts';

const COMMANDS: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...SYSTEM_COMMANDS];
const nameOf = ({ noun, verb }: CommandSpec) => (noun === undefined ? verb : `${noun} ${verb}`);

/** What a person may write for an argument or for an option's value, by its name in the table. */
const SAMPLES: Readonly<Record<string, string>> = {
  vm: 'work',
  device: 'virtual:1-1',
  pattern: 'virtual:1-*',
  file: 'some.file',
  number: '3',
  seconds: '5',
  name: 'work',
  serial: 'S1',
  port: '0-3',
  hash: 'abc',
  time: '2026-11-21',
  shell: 'bash',
};
/** It asks another operation first. */
const ASKS_MORE = '--by-id';

test('every operation can be asked by a command', () => {
  const reached = new Set(COMMANDS.flatMap(({ about }) => ('operation' in about ? [about.operation] : [])));
  const missing = Object.keys(OPERATIONS).filter((name) => name !== 'hello' && !reached.has(name as OperationName));
  assert.deepEqual(missing, []);
});

test('no two commands have one name', () => {
  const names = COMMANDS.flatMap((spec) =>
    [spec.verb, ...(spec.aliases ?? [])].map((verb) => nameOf({ ...spec, verb })),
  );
  assert.deepEqual(names.toSorted(), [...new Set(names)].toSorted());
});

test('every command has examples, and they are of that command', () => {
  for (const spec of COMMANDS) {
    assert.ok((spec.examples?.length ?? 0) > 0, `usher ${nameOf(spec)} has no example`);
    for (const example of spec.examples ?? []) assert.ok(example.includes(`usher ${nameOf(spec)}`), example);
  }
});

for (const spec of COMMANDS) {
  if (!('operation' in spec.about)) continue;
  const { operation } = spec.about;
  test(`usher ${nameOf(spec)} asks ${operation} with parameters that it takes, with and without options`, async () => {
    const options = (spec.options ?? []).filter(({ flags }) => !flags.includes(ASKS_MORE));
    for (const chosen of [options.filter(({ isRequired }) => isRequired), options]) {
      const asked = await ask(spec, chosen);
      assert.equal(asked.operation, operation);
      const checked = v.safeParse(OPERATIONS[operation].params, asked.params);
      assert.ok(checked.success, `${JSON.stringify(asked.params)}: ${checked.issues?.[0]?.message}`);
      assert.deepEqual(checked.output, asked.params, 'a parameter is unknown to the operation');
    }
  });
}

test('numbers and dates that are none are refused before the daemon is asked', async () => {
  const refused = (name: string, option: string) => {
    const spec = COMMANDS.find((other) => nameOf(other) === name);
    assert.ok(spec);
    return assert.rejects(run(spec, { [option]: 'soon' }, neverAsked), (thrown) => isFault(thrown, 'usage'));
  };
  await refused('vm shutdown', 'timeout');
  await refused('vm log', 'lines');
  await refused('audit list', 'since');
});

/** Runs a command until it asks the daemon, and gives what it asked. */
async function ask(spec: CommandSpec, options: readonly OptionSpec[]): Promise<{ operation: string; params: unknown }> {
  const asked: { operation: string; params: unknown }[] = [];
  const call = (operation: string, params: unknown) => {
    asked.push({ operation, params });
    return Promise.reject(new Fault('denied', { user: 'nobody', operation }));
  };
  const given = Object.fromEntries(
    options.map((option) => [new Option(option.flags).attributeName(), sampleOf(option)]),
  );
  const client = { call } as unknown as Client;
  await assert.rejects(
    run(spec, given, async () => client),
    (thrown) => isFault(thrown, 'denied'),
  );
  const [first] = asked;
  assert.ok(first);
  return first;
}

function run(
  spec: CommandSpec,
  options: Record<string, string | boolean | undefined>,
  daemon: () => Promise<Client>,
): Promise<number | undefined> {
  const words = (spec.args ?? []).map(({ name }) => SAMPLES[name]);
  const silent = () => undefined;
  const out = { columns: 80, isTerminal: false, print: silent, tell: silent, progress: silent };
  return spec.run({ words, options, isJson: false, out, daemon });
}

function sampleOf({ flags, choices }: OptionSpec): string | true {
  const value = /<([^>]+)>/.exec(flags)?.[1];
  if (value === undefined) return true;
  const sample = choices?.[0] ?? SAMPLES[value];
  assert.ok(sample, `no sample for ${flags}`);
  return sample;
}

function neverAsked(): Promise<Client> {
  return Promise.reject(new Error('the daemon was asked'));
}
