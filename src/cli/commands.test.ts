/** The table of commands as a whole, against the table of operations. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Option } from 'commander';
import * as v from 'valibot';
import type { Client } from '../api/client.ts';
import { OPERATIONS, type OperationName } from '../api/operations.ts';
import { Fault, isFault } from '../lib/fault.ts';
import type { CommandSpec, OptionSpec } from './command.ts';
import { POLICY_COMMANDS } from './commands/policy.ts';
import { SYSTEM_COMMANDS } from './commands/system.ts';
import { USB_COMMANDS } from './commands/usb.ts';
import { VM_COMMANDS } from './commands/vm.ts';

const COMMANDS: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...POLICY_COMMANDS, ...SYSTEM_COMMANDS];
const nameOf = ({ noun, verb }: CommandSpec) => (noun === undefined ? verb : `${noun} ${verb}`);

const folder = mkdtempSync(join(tmpdir(), 'usher-commands-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const LOG = join(folder, 'auth.log');
writeFileSync(LOG, `Nov 21 10:00:00 host usherd[1]: audit head row=7 hash=${'ab'.repeat(32)} home=/var/lib/usher\n`);

/** What a person may write for an argument or for an option's value, by its name in the table. */
const SAMPLES: Readonly<Record<string, string>> = {
  vm: 'work',
  domain: 'work',
  device: 'virtual:1-1',
  pattern: 'virtual:1-*',
  file: 'some.file',
  number: '3',
  seconds: '5',
  name: 'work',
  serial: 'S1',
  port: '0-3',
  hash: 'ab'.repeat(32),
  time: '2026-11-21',
  within: '30s',
  policy: import.meta.filename,
  log: LOG,
  shell: 'bash',
  key: 'memory',
  value: '64',
  target: 'hdc',
  trigger: 'power',
};
/** It prints a line of JSON for each row. */
const FOR_PROGRAMS = 'audit export';
/** They ask another operation first. */
const ASK_MORE = ['--by-id', '--by-location'];
/** It is not given beside the option that it stands for. */
const SHORT_FORM = 'the same as --';

test('every operation can be asked by a command', () => {
  const reached = new Set(COMMANDS.flatMap(({ about }) => ('operation' in about ? [about.operation] : [])));
  const missing = Object.keys(OPERATIONS).filter(
    (name) => !['hello', 'preview'].includes(name) && !reached.has(name as OperationName),
  );
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
    const options = (spec.options ?? []).filter(
      ({ flags, doc }) => !ASK_MORE.includes(flags) && !doc.startsWith(SHORT_FORM),
    );
    for (const chosen of [options.filter(({ isRequired }) => isRequired), options]) {
      const asked = await ask(spec, chosen);
      assert.equal(asked.operation, operation);
      const checked = v.safeParse(OPERATIONS[operation].params, asked.params);
      assert.ok(checked.success, `${JSON.stringify(asked.params)}: ${checked.issues?.[0]?.message}`);
      assert.deepEqual(checked.output, asked.params, 'a parameter is unknown to the operation');
    }
  });
}

test('an assignment has the mode that one option says; two are refused before the daemon is asked', async () => {
  const spec = COMMANDS.find((other) => nameOf(other) === 'usb assign');
  assert.ok(spec);
  for (const mode of ['auto', 'ask', 'required']) {
    const short = spec.options?.filter(({ flags }) => flags === `--${mode}`) ?? [];
    const { params } = await ask(spec, short);
    assert.deepEqual(params, { vm: 'work', device: 'virtual:1-*', mode });
  }
  for (const options of [
    { auto: true, mode: 'ask' },
    { ask: true, required: true },
  ]) {
    await assert.rejects(run(spec, options, neverAsked), (thrown) => isFault(thrown, 'usage'));
  }
});

test('an assignment means what is at a port now: its id, its place, or both; what has no location is refused', async () => {
  const spec = COMMANDS.find((other) => nameOf(other) === 'usb assign');
  assert.ok(spec);
  const deviceId = '0951:1666:S1:080650';
  const meant = async (options: Record<string, boolean>, more: { readonly location?: string }) => {
    let device: unknown;
    const call = async (operation: string, params: { readonly device: string }) => {
      if (operation === 'usb.explain') return { device: 'dom0:3-1.4', deviceId, ...more };
      device = params.device;
      return { id: 1, matches: [] };
    };
    await run(spec, options, async () => ({ call }) as unknown as Client);
    return device;
  };
  const location = '0000:00:14.0/1.4';
  assert.equal(await meant({ byId: true }, {}), deviceId);
  assert.equal(await meant({ byLocation: true }, { location }), `dom0:${location}`);
  assert.equal(await meant({ byLocation: true, byId: true }, { location }), `dom0:${location}:${deviceId}`);
  await assert.rejects(meant({ byLocation: true }, {}), (thrown) => {
    assert.ok(isFault(thrown, 'usage'));
    assert.match(thrown.message, /dom0:3-1\.4 has no location/);
    return true;
  });
});

test('the tables of all commands fit 80 columns, however long what they show', async () => {
  const [long, device] = ['x'.repeat(60), `usbvm-${'x'.repeat(30)}:31-1.4.2`];
  const deviceId = `0951:1666:${long}:080650`;
  const view = { device, deviceId, description: long, speed: 'high', state: 'detaching', vm: long, slot: '10-15' };
  const why = 'assignment 12: virtual:31-1';
  const vm = { name: long, state: 'suspending', driver: 'simulator', memoryMiB: 1048576, vcpus: 128 };
  const at = '2026-11-21T03:27:11.123Z';
  const entry = { row: 123456, at, actor: { user: long, pid: 4194304 }, vm: long, device, details: { file: long } };
  const outcome = { ...entry, kind: 'outcome', action: 'step.drop_hold', outcome: 'failed', intent: 123455 };
  const rows: Partial<Record<OperationName, readonly object[]>> = {
    'vm.list': [{ ...vm, devices: [device, device] }],
    'usb.list': [{ ...view, why: long }],
    'usb.reconcile': [{ ...view, why }],
    'usb.assignments': [{ id: 123456, vm: long, device: `${device}:${deviceId}`, mode: 'required', matches: [device] }],
    'usb.holds': [{ device, kind: 'in', vm: long, since: at }],
    'audit.list': [outcome, { ...entry, kind: 'intent', action: 'usb.assignments' }],
  };
  const shown: Record<string, string[]> = {};
  for (const spec of COMMANDS) {
    const operation = 'operation' in spec.about ? spec.about.operation : undefined;
    const answer = operation === undefined ? undefined : rows[operation];
    if (operation === undefined || answer === undefined || nameOf(spec) === FOR_PROGRAMS) continue;
    const client = { call: async () => answer } as unknown as Client;
    const lines: string[] = [];
    await run(
      spec,
      {},
      async () => client,
      (text) => lines.push(...text.split('\n')),
    );
    for (const line of lines) assert.ok(line.length <= 80, `${nameOf(spec)}: ${line.length} columns: ${line}`);
    shown[operation] = lines;
  }
  assert.deepEqual(Object.keys(shown).toSorted(), Object.keys(rows).toSorted());
  assert.match(shown['usb.reconcile']?.[1] ?? '', /assignment 12: vi/, 'why is cut last');
});

test('a warning of several lines stays in its column', async () => {
  const spec = COMMANDS.find((other) => nameOf(other) === 'vm show');
  assert.ok(spec);
  const console = { socket: '/c', log: '/l' };
  const vm = { name: 'work', controllers: [], attachments: [], console, warnings: ['It is bad.\nSo is this.'] };
  const client = { call: async () => vm } as unknown as Client;
  let shown = '';
  await run(
    spec,
    {},
    async () => client,
    (text) => (shown = text),
  );
  assert.match(shown, /^warning {6}It is bad\.\n {13}So is this\.$/m);
});

test('numbers and dates that are none are refused before the daemon is asked', async () => {
  const refused = (name: string, option: string) => {
    const spec = COMMANDS.find((other) => nameOf(other) === name);
    assert.ok(spec);
    return assert.rejects(run(spec, { [option]: 'soon' }, neverAsked), (thrown) => isFault(thrown, 'usage'));
  };
  await refused('vm shutdown', 'timeout');
  await refused('vm log', 'lines');
  await refused('audit list', 'since');
  await refused('audit export', 'since');
  await refused('usb trace', 'since');
  await refused('audit verify', 'head');
});

/** Runs a command until it asks the daemon, and gives what it asked. */
async function ask(spec: CommandSpec, options: readonly OptionSpec[]): Promise<{ operation: string; params: unknown }> {
  const asked: { operation: string; params: unknown }[] = [];
  const call = (operation: string, params: unknown) => {
    asked.push({ operation, params });
    return Promise.reject(new Fault('daemon.stopping'));
  };
  const given = Object.fromEntries(
    options.map((option) => [new Option(option.flags).attributeName(), sampleOf(option)]),
  );
  const client = { call } as unknown as Client;
  await assert.rejects(
    run(spec, given, async () => client),
    (thrown) => isFault(thrown, 'daemon.stopping'),
  );
  const [first] = asked;
  assert.ok(first);
  return first;
}

function run(
  spec: CommandSpec,
  options: Record<string, string | boolean | undefined>,
  daemon: () => Promise<Client>,
  print: (text: string) => void = () => undefined,
): Promise<number | undefined> {
  const words = (spec.args ?? []).map(({ name }) => SAMPLES[name]);
  const silent = () => undefined;
  const out = { columns: 80, isTerminal: false, print, tell: silent, progress: silent };
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
