/** A row for every command of xenvm's document and for every alias: what is understood by it, and what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { COMMANDS, helpLines, spellings } from './commands.ts';
import { parseFramedRequest } from './framed-rpc.ts';
import { parseCommand } from './text-dialect.ts';

type Row = readonly [good: string, params: object, bad: string, refusal: RegExp];

const FILE = /"suspend" needs file=PATH|"checkpoint" needs file=PATH/;
const NONE = /has no parameter "now"/;
const DRIVE = /needs virtpath=/;

/** By spelling: a line, what it asks for, a line that is refused, and why. */
const TABLE: Readonly<Record<string, Row>> = {
  help: ['help', {}, 'help now', NONE],
  status: ['status', {}, 'status now', NONE],
  'get-status': ['get-status', {}, 'get-status now', NONE],
  'get-domid': ['get-domid', {}, 'get-domid now', NONE],
  domid: ['domid', {}, 'domid now', NONE],
  'get-stubdomid': ['get-stubdomid', {}, 'get-stubdomid now', NONE],
  'get-vnc': ['get-vnc', {}, 'get-vnc now', NONE],
  vnc: ['vnc', {}, 'vnc now', NONE],
  start: ['start paused=true', { isPaused: true }, 'start paused=yes', /true or false is expected/],
  pause: ['pause', {}, 'pause now', NONE],
  unpause: ['unpause', {}, 'unpause now', NONE],
  resume: ['resume', {}, 'resume now', NONE],
  shutdown: ['shutdown timeout=5', { timeoutSeconds: 5 }, 'shutdown timeout=-1', /a number of seconds/],
  halt: ['halt forced=true', { isForced: true }, 'halt now', NONE],
  restart: ['restart forced=false', { isForced: false }, 'restart forced=1', /true or false/],
  reboot: ['reboot auto-start=true', {}, 'reboot now', NONE],
  reset: ['reset', {}, 'reset now', NONE],
  destroy: ['destroy', {}, 'destroy now', NONE],
  suspend: ['suspend file=/x live=true', { file: '/x', isLive: true }, 'suspend', FILE],
  restore: [
    'restore file=/x delete=false paused=true',
    { file: '/x', isKept: true, isPaused: true },
    'restore file=x',
    /absolute path/,
  ],
  checkpoint: ['checkpoint /x disks=ignore', { file: '/x', disks: 'ignore' }, 'checkpoint live=true', FILE],
  get: ['get field=memory', { key: 'memory' }, 'get', /"get" needs field=KEY/],
  set: ['set field=memory value=64', { key: 'memory', value: '64' }, 'set memory=64', /has no parameter "memory"/],
  'disk-list': ['disk-list', {}, 'disk-list now', NONE],
  'disk-add': [
    'disk-add physpath=/d.img virtpath=hdb mode=r',
    { key: 'disk', value: '/d.img:file:hdb:r:disk', isAdded: true },
    'disk-add physpath=/d.img virtpath=c:',
    /a disk such as hdc/,
  ],
  'nic-list': ['nic-list', {}, 'nic-list now', NONE],
  'vif-list': ['vif-list', {}, 'vif-list now', NONE],
  'nic-add': [
    'nic-add mac=00:16:3e:00:00:01 bridge=xenbr0',
    { key: 'nic', value: 'bridge=xenbr0,mac=00:16:3e:00:00:01', isAdded: true },
    'nic-add bridge="a,mac=b"',
    /letters and digits/,
  ],
  'vif-add': ['vif-add', { key: 'nic', value: '', isAdded: true }, 'vif-add now', NONE],
  'pci-list': ['pci-list', {}, 'pci-list now', NONE],
  'pci-add': [
    'pci-add 0000:02:1d.7 id=1',
    { key: 'pci', value: '1,0000:02:1d.7', isAdded: true },
    'pci-add',
    /"pci-add" needs pci=WORD/,
  ],
  'cd-insert': [
    'cd-insert virtpath=hdc physpath=/a.iso',
    { target: 'hdc', file: '/a.iso' },
    'cd-insert physpath=/a.iso',
    DRIVE,
  ],
  'cd-insert-file': ['cd-insert-file target=hdc /a.iso', { target: 'hdc', file: '/a.iso' }, 'cd-insert-file /a', DRIVE],
  'cd-insert-real': [
    'cd-insert-real virtpath=hdc physpath=/dev/sr0',
    { target: 'hdc', file: '/dev/sr0' },
    'cd-insert-real virtpath=hdc physpath=sr0',
    /absolute path/,
  ],
  'cd-eject': ['cd-eject hdc', { target: 'hdc' }, 'cd-eject', DRIVE],
  'set-mem-target': ['set-mem-target mb=128', { memoryMiB: 128 }, 'set-mem-target 0', /MiB up to/],
  trigger: ['trigger params=s3resume', { trigger: 's3resume' }, 'trigger', /needs params=WORD/],
  'read-config': ['read-config path=/new.cfg', { path: '/new.cfg' }, 'read-config new.cfg', /absolute path/],
  reload: ['reload', {}, 'reload now', /absolute path/],
  subscribe: ['subscribe', {}, 'subscribe now', NONE],
  quit: ['quit', {}, 'quit now', NONE],
};

for (const [spelling, name] of spellings()) {
  test(`${spelling} is understood, and what it does not take is refused, in lines and in frames`, () => {
    const row = TABLE[spelling];
    assert.ok(row, `${spelling} has no row`);
    const [good, params, bad, refusal] = row;
    assert.deepEqual(parseCommand(good), { name, params });
    assert.throws(
      () => parseCommand(bad),
      (error) => isFault(error, 'usage', 'params.invalid') && refusal.test(error.message),
    );
    assert.deepEqual(framed(good).command, { name, params });
  });
}

test('every command of the document has a row', () => {
  const seed = 'help pause unpause destroy start suspend restore checkpoint shutdown restart quit'.split(' ');
  const known = new Map(spellings());
  for (const command of seed) assert.equal(known.get(command), command);
  assert.deepEqual(Object.keys(TABLE).toSorted(), [...known.keys()].toSorted());
});

test('on D-Bus the names had underscores: they are understood, too', () => {
  assert.equal(parseCommand('get_domid').name, 'get-domid');
});

test('what is given twice, by whichever name, is refused', () => {
  assert.throws(() => parseCommand('cd-eject hdc target=hdd'), /"virtpath" is given twice/);
});

test('help names every command with its parameters', () => {
  const help = helpLines();
  assert.equal(help.length, Object.keys(COMMANDS).length);
  for (const word of ['suspend file=PATH [live=true|false]', 'restore [file=PATH]', '(also: halt)', 'quit']) {
    assert.ok(help.join('\n').includes(word), word);
  }
});

/** The same line as a program sends it in a frame: every value by its name. */
function framed(line: string) {
  const [method = '', ...words] = line.split(' ');
  const main = { suspend: 'file', checkpoint: 'file', 'pci-add': 'pci', 'cd-eject': 'virtpath' };
  const params = words.map((word): [string, string] => {
    const equals = word.indexOf('=');
    if (equals > 0) return [word.slice(0, equals), word.slice(equals + 1)];
    return [main[method as keyof typeof main] ?? 'physpath', word];
  });
  const request = { jsonrpc: '2.0', method, params: Object.fromEntries(params), id: 1 };
  return parseFramedRequest(Buffer.from(JSON.stringify(request)));
}
