/** Every action against every kind of person: a new operation has no row here, and fails until somebody writes it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Action, APART_ACTIONS, NEEDS, rightFor } from '../api/access.ts';
import { OPERATIONS } from '../api/operations.ts';
import { Accounts } from '../lib/accounts.ts';
import { isFault } from '../lib/fault.ts';
import { type AccessEntry, RIGHTS } from '../model/access.ts';
import type { Actor } from '../model/audit.ts';
import { Access, type Subjects } from './access.ts';
import { entrantsOf, isOfHost } from './entrants.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-access-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const [passwd, group] = [join(folder, 'passwd'), join(folder, 'group')];
writeFileSync(
  passwd,
  'root:x:0:0::/:\nusher:x:90:90::/:\nada:x:1001:100::/:\neve:x:1002:100::/:\nbob:x:1003:100::/:\n',
);
writeFileSync(group, 'root:x:0:\nusher:x:90:\nusher-admin:x:91:\nlab:x:92:\nusers:x:100:\n');

const WORK = { name: 'work', uuid: '11111111-1111-4111-8111-111111111111' };
const PLAY = { name: 'play', uuid: '22222222-2222-4222-8222-222222222222' };
/** A stick in work, one in play, one that is free, and a keyboard that is free. */
const DEVICES: Readonly<Record<string, ReturnType<Subjects['device']>>> = {
  'dom0:1-1': { deviceId: '0951:1666:S1:080650', vm: WORK },
  'dom0:1-2': { deviceId: '0951:1666:S2:080650', vm: PLAY },
  'dom0:1-3': { deviceId: '0951:1666:S3:080650' },
  'dom0:1-4': { deviceId: '046d:c31c::030101.030000' },
  'dom0:1-5': { deviceId: '0951:1666:S5:030101.080650' },
};
const subjects: Subjects = {
  vm: (ref) => [WORK, PLAY].find(({ name, uuid }) => ref === name || ref === uuid) ?? { name: ref },
  device: (key) => DEVICES[key],
};
const entries: readonly AccessEntry[] = [
  { to: { group: 'lab' }, may: 'control', vms: ['work'] },
  { to: { user: 'eve' }, may: 'attach', deviceClasses: ['storage'] },
  { to: { user: 'bob' }, may: 'write', vms: [WORK.uuid] },
  { to: { user: 1004 }, may: 'control' },
  { to: { user: 1005 }, may: 'read', vms: ['work'] },
];
const accounts = new Accounts(passwd, group);
const access = new Access({ entries, subjects, hasGroups: true, accounts, ownUid: 90 });

const actor = (uid: number, ...groups: number[]): Actor => ({ uid, pid: 1, user: `user${uid}`, groups });
/** Who asks, by the letters of the table. */
const WHO = {
  R: actor(0, 0),
  D: actor(90, 90), // the daemon's own user
  A: actor(1001, 100, 91), // a member of usher-admin
  G: actor(1001, 100, 90), // a member of usher
  C: actor(1004, 100), // control, on the whole host
  L: actor(1001, 100, 92), // control over VM work, by the group lab
  W: actor(1003, 100), // write over VM work
  V: actor(1005, 100), // read over VM work
  S: actor(1002, 100), // attach, for storage
  N: actor(1001, 100), // nobody
  X: actor(-1), // who has hung up
} as const;

/** What everybody asks, and who may: everybody else may not. */
const TABLE: { readonly [A in Action]: readonly (readonly [params: object, who: string])[] } = {
  hello: [[{ client: 'x', protocol: 1 }, 'RDAGCLWVSNX']],
  doctor: [[{}, 'RDAGC']],
  'vm.create': [
    [{ path: '/etc/work.cfg' }, 'RDA'],
    [{ content: 'name = work' }, 'RDA'],
  ],
  'vm.adopt': [[{ domain: 'work' }, 'RDA']],
  'vm.list': [[{}, 'RDAGCLWVS']],
  'vm.show': [
    [{ vm: 'work' }, 'RDAGCLWV'],
    [{ vm: WORK.uuid }, 'RDAGCLWV'],
    [{ vm: 'play' }, 'RDAGC'],
    [{ vm: 'nobody' }, 'RDAGC'],
  ],
  'vm.set': [
    [{ vm: 'work', autostart: true }, 'RDAW'],
    [{ vm: 'play', autostart: true }, 'RDA'],
  ],
  'vm.config': [
    [{ vm: 'work' }, 'RDAGCLWV'],
    [{ vm: 'play', key: 'memory' }, 'RDAGC'],
  ],
  'vm.configure': [[{ vm: 'work', key: 'disk', value: '/etc/shadow:file:hda:r:disk' }, 'RDA']],
  'vm.reread': [
    [{ vm: 'work' }, 'RDAW'],
    [{ vm: 'play' }, 'RDA'],
    [{ vm: 'work', path: '/home/bob/made.cfg' }, 'RDA'],
  ],
  'vm.remove': [
    [{ vm: 'work' }, 'RDAW'],
    [{ vm: 'play' }, 'RDA'],
  ],
  'vm.start': ofVm(),
  'vm.pause': ofVm(),
  'vm.unpause': ofVm(),
  'vm.shutdown': ofVm(),
  'vm.restart': ofVm(),
  'vm.reset': ofVm(),
  'vm.destroy': ofVm(),
  'vm.suspend': [...ofVm(), [{ vm: 'work', file: '/etc/cron.d/x' }, 'RDA']],
  'vm.restore': [...ofVm(), [{ vm: 'work', file: '/home/eve/made.save' }, 'RDA']],
  'vm.checkpoint': [[{ vm: 'work', file: '/etc/cron.d/x' }, 'RDA']],
  'vm.insert': [[{ vm: 'work', target: 'hdc', file: '/etc/shadow' }, 'RDA']],
  'vm.eject': ofVm(),
  'vm.memory': ofVm(),
  'vm.trigger': ofVm(),
  'vm.vnc': [
    [{ vm: 'work' }, 'RDAGCLWV'],
    [{ vm: 'play' }, 'RDAGC'],
  ],
  'vm.console': ofVm(),
  'vm.log': [
    [{ vm: 'work' }, 'RDAGCLWV'],
    [{ vm: 'play' }, 'RDAGC'],
  ],
  'usb.list': [[{}, 'RDAGCLWVS']],
  'usb.plug': [
    [{ at: 'virtual:1-1', kind: 'tablet' }, 'RDAC'],
    [{ at: 'virtual:1-1', kind: 'storage', file: '/etc/shadow' }, 'RDA'],
  ],
  'usb.unplug': [
    [{ device: 'dom0:1-1' }, 'RDACLW'],
    [{ device: 'dom0:1-3' }, 'RDAC'],
  ],
  'usb.attach': [
    [{ device: 'dom0:1-3', vm: 'work' }, 'RDACLWS'],
    [{ device: 'dom0:1-4', vm: 'work' }, 'RDACLW'],
    [{ device: 'dom0:1-5', vm: 'work' }, 'RDACLW'], // a stick that types is no storage
    [{ device: 'dom0:1-3', vm: 'play' }, 'RDACS'],
    [{ device: 'dom0:1-2', vm: 'work' }, 'RDACS'], // it would be taken from play
    [{ device: 'host:1-2', vm: 'work' }, 'RDACS'], // the same by another name
    [{ device: 'dom0:1-3', vm: 'work', isForced: true }, 'RDA'],
    [{ device: 'dom0:1-3', vm: 'work', isForced: false }, 'RDACLWS'],
    [{ device: 'dom0:9-9', vm: 'work' }, 'RDACLW'],
    [{ device: 'nonsense', vm: 'nobody' }, 'RDAC'],
  ],
  'usb.pending': [[{}, 'RDAGCLWVS']],
  'usb.answer': [
    [{ device: 'dom0:1-3', vm: 'work' }, 'RDACLWS'],
    [{ device: 'dom0:1-3', vm: 'work', isRemembered: true }, 'RDA'],
    [{ device: 'dom0:1-3' }, 'RDAC'],
  ],
  'usb.detach': ofDevice(),
  'usb.release': ofDevice(),
  'usb.assign': [[{ vm: 'work', device: '*:*' }, 'RDA']],
  'usb.unassign': [[{ assignment: 1 }, 'RDA']],
  'usb.assignments': [[{}, 'RDAGCLWVS']],
  'usb.holds': [[{}, 'RDAGCLWVS']],
  'usb.explain': [
    [{ device: 'dom0:1-1' }, 'RDAGCLWVS'],
    [{ device: 'dom0:1-2' }, 'RDAGCS'],
    [{ device: 'dom0:1-4' }, 'RDAGCLWV'],
  ],
  'usb.trace': [
    [{ device: 'dom0:1-1' }, 'RDAGCLWVS'],
    [{ device: 'dom0:1-2' }, 'RDAGCS'],
  ],
  'usb.reconcile': [[{}, 'RDAC']],
  'policy.show': [[{}, 'RDAGC']],
  'policy.load': [[{}, 'RDA']],
  'policy.diff': [[{ content: 'rules: []' }, 'RDAC']],
  'policy.explain': [
    [{ device: 'dom0:1-1' }, 'RDAGCLWVS'],
    [{ device: 'dom0:1-2' }, 'RDAGCS'],
  ],
  'trial.list': [[{}, 'RDAGC']],
  'trial.confirm': [[{}, 'RDAC']],
  preview: [[{ operation: 'vm.start', params: { vm: 'work' } }, 'RDAGC']],
  'events.follow': [
    [{}, 'RDAGC'],
    [{ vm: 'work' }, 'RDAGCLWV'],
    [{ vm: 'play' }, 'RDAGC'],
  ],
  'audit.list': [
    [{}, 'RDAGC'],
    [{ vm: 'work' }, 'RDAGCLWV'],
    [{ vm: 'play' }, 'RDAGC'],
    [{ device: 'dom0:1-1' }, 'RDAGC'],
  ],
  'audit.verify': [[{}, 'RDAGC']],
  'monitor.status': [
    [{ vm: WORK.uuid }, 'RDAGCLWV'],
    [{ vm: PLAY.uuid }, 'RDAGC'],
  ],
  'monitor.quit': [
    [{ vm: WORK.uuid }, 'RDACLW'],
    [{ vm: PLAY.uuid }, 'RDAC'],
  ],
};

function ofVm(): readonly (readonly [object, string])[] {
  return [
    [{ vm: 'work' }, 'RDACLW'],
    [{ vm: 'play' }, 'RDAC'],
    [{}, 'RDAC'],
  ];
}

function ofDevice(): readonly (readonly [object, string])[] {
  return [
    [{ device: 'dom0:1-1' }, 'RDACLWS'],
    [{ device: 'dom0:1-2' }, 'RDACS'],
    [{ device: 'dom0:1-3' }, 'RDACS'], // what is in no VM is no matter of a right over a VM
    [{ device: 'dom0:1-5' }, 'RDAC'],
  ];
}

const ACTIONS: readonly Action[] = [...(Object.keys(OPERATIONS) as Action[]), ...APART_ACTIONS];

describe('every action and every person', () => {
  for (const action of ACTIONS) {
    test(action, () => {
      const rows = TABLE[action];
      assert.ok((rows?.length ?? 0) > 0, `${action} has no row: say who may, and who may not`);
      for (const [params, expected] of rows) {
        const who = Object.entries(WHO).filter(([, one]) => isAllowed(action, params, one));
        assert.equal(who.map(([letter]) => letter).join(''), expected, `${action} ${JSON.stringify(params)}`);
      }
    });
  }
});

test('what is no parameters at all is denied to whom it would have to be looked at for', () => {
  for (const params of [undefined, null, 5, 'work', [], ['work'], { vm: 5 }, { vm: ['work'] }, { device: {} }]) {
    for (const action of ACTIONS.filter((name) => name.startsWith('vm.') && name !== 'vm.list')) {
      assert.ok(isAllowed(action, params, WHO.R));
      assert.ok(!isAllowed(action, params, WHO.L), `${action} ${JSON.stringify(params)}`);
    }
  }
});

test('a parameter that names a file of the host is known as one', () => {
  for (const [name, { params }] of Object.entries(OPERATIONS)) {
    const entries = Object.keys((params as unknown as { entries: object }).entries);
    const paths = entries.filter((entry) => /file|path|folder/i.test(entry));
    const need = NEEDS[name as Action];
    const isForAll = need.about === 'host' && rightFor(name as Action) === 'write';
    if (!isForAll) assert.deepEqual(need.files ?? [], paths, name);
  }
});

test('a right is never less than its class asks for, but for hands on devices', () => {
  for (const [name, row] of Object.entries(OPERATIONS)) {
    const action = name as Action;
    if (NEEDS[action].right === 'attach') assert.equal(row.class, 'control');
    else assert.ok(RIGHTS.indexOf(rightFor(action)) >= RIGHTS.indexOf(row.class), name);
  }
});

test('says who, what is missing and what to do', () => {
  const refusal = (action: Action, params: object, who: Actor) => {
    try {
      access.demand(action, params, who);
    } catch (error) {
      assert.ok(isFault(error, 'denied'));
      assert.match(error.hint ?? '', /usher-admin/);
      return error.message;
    }
    return 'allowed';
  };
  assert.equal(
    refusal('vm.start', { vm: 'play' }, WHO.L),
    'User user1001 may not do "vm.start": it needs "control" over VM play, and what they have is "control" over VM work.',
  );
  assert.equal(
    refusal('vm.suspend', { vm: 'work', file: '/x' }, WHO.L),
    'User user1001 may not do "vm.suspend": with "file", which names a file of the host, it needs "write" on the whole host, and what they have is "control" over VM work.',
  );
  const wild = refusal('vm.start', { vm: '\u001b[2J' }, WHO.N);
  assert.doesNotMatch(wild, /\u001b/);
});

test('groups count only for the daemon of the host, and as of now', () => {
  const own = new Access({ entries: [], subjects, hasGroups: false, accounts, ownUid: 1000 });
  const isOwn = (who: Actor) => isAllowed('usb.list', {}, who, own);
  assert.ok(isOwn(actor(1000)));
  assert.ok(!isOwn(WHO.A) && !isOwn(WHO.G));
  const later = join(folder, 'later');
  const fresh = new Access({
    entries: [],
    subjects,
    hasGroups: true,
    accounts: new Accounts(passwd, later),
    ownUid: 0,
  });
  assert.ok(!isAllowed('usb.list', {}, actor(1001, 95), fresh));
  writeFileSync(later, 'usher:x:95:\n');
  assert.ok(isAllowed('usb.list', {}, actor(1001, 95), fresh));
});

test('of a list one sees what one may look at', () => {
  const vms = [
    { name: 'work', uuid: WORK.uuid },
    { name: 'play', uuid: PLAY.uuid },
    { name: 'work', uuid: '33333333-3333-4333-8333-333333333333', isStranger: true },
  ];
  const devices = [
    { device: 'dom0:1-1', vm: 'work' },
    { device: 'dom0:1-2', vm: 'play' },
    { device: 'dom0:1-3' },
    { device: 'dom0:1-4' },
    { device: 'dom0:1-5' },
  ];
  const seen = (action: Action, rows: readonly object[], who: Actor) =>
    access.visible(action, rows, who).map((row) => rows.indexOf(row));
  for (const who of [WHO.R, WHO.D, WHO.A, WHO.G, WHO.C]) {
    assert.equal(seen('vm.list', vms, who).length, vms.length);
    assert.equal(seen('usb.list', devices, who).length, devices.length);
  }
  assert.deepEqual(seen('vm.list', vms, WHO.L), [0], 'a stranger may bear any name');
  assert.deepEqual(seen('usb.list', devices, WHO.L), [0, 2, 3, 4]);
  assert.deepEqual(seen('vm.list', vms, WHO.S), []);
  assert.deepEqual(seen('usb.list', devices, WHO.S), [0, 1, 2]);
  const wishes = [
    { id: 1, vm: 'work', device: 'dom0:*' },
    { id: 2, vm: 'play', device: '0951:*' },
  ];
  assert.deepEqual(seen('usb.assignments', wishes, WHO.V), [0]);
  assert.deepEqual(seen('usb.assignments', wishes, WHO.S), []);
  assert.deepEqual(access.visible('vm.show', { name: 'play' }, WHO.L), { name: 'play' });
});

test('whoever may do anything reaches the sockets, and nobody else', () => {
  assert.deepEqual(entrantsOf(accounts, true, entries), {
    groupId: 90,
    others: [{ gid: 91 }, { gid: 92 }, { uid: 1002 }, { uid: 1003 }, { uid: 1004 }, { uid: 1005 }],
  });
  assert.deepEqual(entrantsOf(accounts, false, [{ to: { user: 'gone' }, may: 'read' }]), { others: [] });
});

test('the daemon of the host runs as root, or for the group usher first of all', () => {
  assert.ok(isOfHost(accounts, 0, 0));
  assert.ok(isOfHost(accounts, 90, 90));
  assert.ok(!isOfHost(accounts, 1001, 100));
  assert.ok(!isOfHost(new Accounts(passwd, join(folder, 'none')), 1001, 100));
});

function isAllowed(action: Action, params: unknown, who: Actor, by = access): boolean {
  try {
    by.demand(action, params, who);
    return true;
  } catch (error) {
    if (isFault(error, 'denied')) return false;
    throw error;
  }
}
