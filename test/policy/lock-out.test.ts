/**
 * The lock-out table: wishes that would take the last keyboard or the last pointing device from a person, on whole hosts and
 * at every pace. None does; without the guard, each does.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { InputKind } from '../../src/model/input-claims.ts';
import type { InputSettings } from '../../src/usb/last-inputs.ts';
import { assignment, holdIn, type WorldParts } from '../../src/usb/test-world.ts';
import { Desk, type DeskOptions, deviceOf, PACES, type Plugged } from '../../src/usb/testing/desk.ts';
import type { HostTree } from '../../src/usb/testing/host-tree.ts';
import * as hosts from '../../src/usb/testing/hosts.ts';

const trees = new Set<HostTree>();
after(() => {
  for (const tree of trees) tree.remove();
});

const KEYBOARD = '046d:c31c';
const MOUSE = '046d:c077';
const keyboard = (busid: string): Plugged => ({
  device: deviceOf(busid, KEYBOARD, ['030101']),
  uses: ['keyboard'],
  put: hosts.usbKeyboard,
});
const mouse = (busid: string): Plugged => ({
  device: deviceOf(busid, MOUSE, ['030102']),
  uses: ['pointer'],
  put: hosts.usbMouse,
});
const receiver: Plugged = {
  device: deviceOf('1-2', '046d:c534', ['030000', '030101', '030102']),
  uses: ['keyboard', 'pointer'],
  put: () => {},
};
/** A keyboard that does not say that it is one, until the host's driver has read what it can do. */
const silentKeyboard = (busid: string): Plugged => ({
  device: deviceOf(busid, '1b1c:1b3d', ['030000']),
  uses: ['keyboard'],
  put: (tree, at) => {
    tree.usb(at, { interfaces: [['030000', 'usbhid']], vendor: '1b1c' });
    tree.input({
      at: `${tree.at(`${at}:1.0`)}/0003:1B1C:1B3D.0007`,
      name: 'Gaming',
      vendor: '1b1c',
      looks: 'keyboard',
    });
  },
});
const bootStick: Plugged = {
  device: deviceOf('1-5', '0951:1666', ['080650'], 'BOOT'),
  uses: [],
  put: (tree, busid) => hosts.stick(tree, busid),
};

/** A host with more plugged than its fixture has. */
function tree(base: HostTree, ...more: readonly Plugged[]): HostTree {
  for (const { device, put } of more) put(base, device.busid);
  trees.add(base);
  return base;
}

interface Row {
  readonly name: string;
  readonly host: () => Pick<DeskOptions, 'tree' | 'plugged' | 'own'>;
  /** The match of one rule, which attaches; or a whole policy. */
  readonly match?: string;
  readonly rules?: string;
  readonly wishes?: Pick<WorldParts, 'assignments' | 'holds'>;
  readonly inputs?: InputSettings;
  readonly isBlind?: boolean;
  /** What VMs have is missed: that takes a look at the host which succeeds. */
  readonly isMissed?: boolean;
  /** What happens when all is at rest, one after the other. */
  readonly events?: readonly ((desk: Desk) => void)[];
}

const desktop = () => ({ tree: tree(hosts.desktop()), plugged: [keyboard('1-3'), mouse('1-4')] });
const twoKeyboards = () => ({
  tree: tree(hosts.desktop(), keyboard('1-5')),
  plugged: [keyboard('1-3'), mouse('1-4'), keyboard('1-5')],
});
const twoMice = () => ({
  tree: tree(hosts.desktop(), mouse('1-5')),
  plugged: [keyboard('1-3'), mouse('1-4'), mouse('1-5')],
});
const kvm = () => ({ tree: tree(hosts.kvmSwitch()), plugged: [keyboard('1-1.2.1'), mouse('1-1.2.2')] });
const rule = (match: string, action = 'attach: vm1') => `rules:\n  - match: ${match}\n    ${action}\n`;
const forced = { isForced: true } as const;
const rightAfter = (hour: number) => (desk: Desk) => {
  desk.wallNow = new Date(2026, 0, 5, hour).getTime();
};

const TABLE: readonly Row[] = [
  { name: 'everything', host: desktop, match: 'everything' },
  { name: 'every input device', host: desktop, match: '{ class: hid }' },
  { name: 'keyboards and mice, said explicitly', host: desktop, match: '{ class: [keyboard, mouse] }' },
  { name: 'keyboards and nothing else', host: desktop, match: '{ class: { only: keyboard } }' },
  { name: 'keyboard and mouse by their ids', host: desktop, match: `{ id: [${KEYBOARD}, ${MOUSE}] }` },
  { name: 'the mouse by its id with all parts', host: desktop, match: `{ id: "${MOUSE}::030102" }` },
  { name: 'port and id', host: desktop, match: `{ port: 1-3, id: ${KEYBOARD} }` },
  { name: 'the ports of both', host: desktop, match: '{ port: [1-3, 1-4] }' },
  { name: 'a root hub and what types', host: desktop, match: '{ hub: usb1, class: keyboard }' },
  { name: 'slow devices of the host', host: desktop, match: '{ backend: dom0, speed: low, class: [keyboard, mouse] }' },
  { name: 'a modem that turns out to be a keyboard', host: desktop, match: `{ switches: [12d1:1f01, ${KEYBOARD}] }` },
  {
    name: 'a rule whose hours come',
    host: desktop,
    rules: `rules:\n  - match: { id: ${KEYBOARD} }\n    attach: vm1\n    when: { time: 08:00-18:00 }\n`,
    events: [rightAfter(9)],
  },
  {
    name: 'a question that is answered with yes',
    host: twoKeyboards,
    rules: rule(`{ id: ${KEYBOARD} }`, 'ask: [vm1, vm2]'),
  },
  { name: 'an assignment by id', host: desktop, wishes: { assignments: [assignment(1, 1, `${KEYBOARD}:*:*`)] } },
  {
    name: 'an assignment by port and id',
    host: desktop,
    wishes: { assignments: [assignment(1, 1, `dom0:1-4:${MOUSE}:*:*`)] },
  },
  {
    name: 'a required assignment',
    host: desktop,
    wishes: { assignments: [assignment(1, 1, 'dom0:1-3', 'required'), assignment(2, 2, 'dom0:1-4', 'required')] },
  },
  {
    name: 'an assignment that asks, and the answer is yes',
    host: twoMice,
    wishes: { assignments: [assignment(1, 1, `${MOUSE}:*:*`, 'ask')] },
  },
  { name: 'a hand', host: desktop, wishes: { holds: [holdIn(keyboard('1-3').device, 1)] } },
  {
    name: 'a hand by force, on both',
    host: desktop,
    wishes: { holds: [holdIn(keyboard('1-3').device, 1, forced), holdIn(mouse('1-4').device, 2, forced)] },
  },
  { name: 'two keyboards at once, by one rule', host: twoKeyboards, match: '{ class: keyboard }' },
  { name: 'two mice at once, by one rule', host: twoMice, match: `{ id: ${MOUSE} }` },
  {
    name: 'two keyboards at once, into two VMs',
    host: twoKeyboards,
    wishes: { assignments: [assignment(1, 1, 'dom0:1-3'), assignment(2, 2, 'dom0:1-5')] },
  },
  {
    name: 'two keyboards at once, by force',
    host: twoKeyboards,
    wishes: { holds: [holdIn(keyboard('1-3').device, 1, forced), holdIn(keyboard('1-5').device, 1, forced)] },
  },
  {
    name: 'two keyboards one after the other, the second by force',
    host: twoKeyboards,
    wishes: { assignments: [assignment(1, 1, 'dom0:1-3')] },
    events: [(desk) => desk.force('1-5', 2)],
  },
  {
    name: 'two keyboards, and the VM that has one starts anew',
    host: twoKeyboards,
    match: '{ class: keyboard }',
    events: [(desk) => desk.restart(1), (desk) => desk.restart(1)],
  },
  {
    name: 'a second keyboard that is plugged later',
    host: desktop,
    match: '{ class: keyboard }',
    events: [(desk) => desk.plug(keyboard('1-6')), (desk) => desk.plug(keyboard('1-7'))],
  },
  {
    name: 'the other keyboard is pulled while the VM has one',
    isMissed: true,
    host: twoKeyboards,
    wishes: { assignments: [assignment(1, 1, 'dom0:1-3')] },
    events: [(desk) => desk.unplug('1-5')],
  },
  {
    name: 'the other mouse is pulled, plugged and pulled while the VM has one',
    isMissed: true,
    host: twoMice,
    match: `{ port: 1-5, id: ${MOUSE} }`,
    events: [(desk) => desk.unplug('1-4'), (desk) => desk.plug(mouse('1-4')), (desk) => desk.unplug('1-4')],
  },
  {
    name: 'a disk that comes back as a keyboard',
    host: () => ({
      tree: tree(hosts.server()),
      plugged: [{ ...bootStick, device: deviceOf('1-6', '0951:1666', ['080650']) }],
    }),
    match: `{ switches: [0951:1666, ${KEYBOARD}] }`,
    events: [(desk) => desk.plug(keyboard('1-6'))],
  },
  {
    name: 'the first keyboard of a server',
    host: () => ({ tree: tree(hosts.server()), plugged: [] }),
    match: '{ class: keyboard }',
    events: [(desk) => desk.plug(keyboard('1-1'))],
  },
  {
    name: 'a receiver of both',
    host: () => ({ tree: tree(hosts.wirelessReceiver()), plugged: [receiver] }),
    match: '{ class: { all: [keyboard, mouse] } }',
  },
  {
    name: 'a receiver of both, and a keyboard besides',
    host: () => ({ tree: tree(hosts.wirelessReceiver(), keyboard('1-3')), plugged: [receiver, keyboard('1-3')] }),
    match: '{ class: [keyboard, mouse, hid] }',
  },
  {
    name: 'a keyboard that does not say that it is one',
    host: () => ({ tree: tree(hosts.pc(), silentKeyboard('1-3')), plugged: [silentKeyboard('1-3')] }),
    match: '{ class: hid }',
  },
  {
    name: 'two keyboards of which one does not say it',
    isMissed: true,
    host: () => ({
      tree: tree(hosts.pc(), silentKeyboard('1-3'), keyboard('1-4')),
      plugged: [silentKeyboard('1-3'), keyboard('1-4')],
    }),
    match: '{ class: [hid, keyboard] }',
    events: [(desk) => desk.unplug('1-4')],
  },
  {
    name: 'a laptop whose own keyboard is broken, as the settings say',
    host: () => ({ tree: tree(hosts.laptop(), keyboard('1-1')), plugged: [keyboard('1-1')], own: ['pointer'] }),
    match: `{ id: ${KEYBOARD} }`,
    inputs: { neverCounts: ['isa0060/serio0'] },
  },
  { name: 'what is below a KVM switch', host: kvm, match: '{ hub: 1-1, class: [keyboard, mouse] }' },
  {
    name: 'a KVM switch that looks away and back',
    host: kvm,
    match: `{ hub: 1-1.2, id: [${KEYBOARD}, ${MOUSE}] }`,
    events: [
      (desk) => desk.unplug('1-1.2.1'),
      (desk) => desk.unplug('1-1.2.2'),
      (desk) => desk.plug(mouse('1-1.2.2')),
      (desk) => desk.plug(keyboard('1-1.2.1')),
    ],
  },
  {
    name: 'a live system: the keyboard, and all disks',
    host: () => ({ tree: tree(hosts.liveStick(), keyboard('1-3')), plugged: [bootStick, keyboard('1-3')] }),
    match: '{ class: [keyboard, storage] }',
  },
  {
    name: 'a host that does not tell what it does',
    host: desktop,
    match: `{ id: [${KEYBOARD}, ${MOUSE}] }`,
    isBlind: true,
  },
  {
    name: 'a host that does not tell what it does, by force',
    host: desktop,
    wishes: { holds: [holdIn(keyboard('1-3').device, 1, forced)] },
    isBlind: true,
  },
];

/** Plays a row, and gives what the person had lost at any rest, and what VMs had. */
async function play(row: Row, pace: DeskOptions['pace'], isGuarded: boolean) {
  const { match, rules = match === undefined ? undefined : rule(match), wishes, inputs, isBlind } = row;
  const desk = new Desk({ ...row.host(), rules, wishes, inputs, isBlind, pace, isGuarded });
  const lost = new Set<InputKind>();
  const taken = new Set<string>();
  for (const event of [() => {}, ...(row.events ?? [])]) {
    event(desk);
    for (const kind of desk.lost(await desk.foreseen())) lost.add(kind);
    await desk.settle();
    for (const kind of desk.lost()) lost.add(kind);
    for (const busid of desk.taken) taken.add(busid);
  }
  return { lost: [...lost], taken: [...taken] };
}

describe('the lock-out table', () => {
  for (const row of TABLE) {
    test(`${row.name}: nobody is locked out`, async () => {
      const paces = PACES.filter((pace) => pace !== 'deaf' || row.isMissed !== true);
      for (const pace of paces) assert.deepEqual((await play(row, pace, true)).lost, [], pace);
    });
    test(`${row.name}: without the guard somebody would be`, async () => {
      assert.notDeepEqual((await play(row, 'fresh', false)).lost, []);
    });
  }
});
