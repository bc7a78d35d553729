import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EVERYTHING, type Grant, isAllowedSomewhere, RIGHTS, type Subject, whatIsMissing } from './access.ts';
import { interfacesOfId, isDeviceClass, isOnlyOf } from './device-class.ts';

const HOST: Subject = { is: 'host' };
const work = { name: 'work', uuid: '11111111-1111-4111-8111-111111111111' };
const play = { name: 'play', uuid: '22222222-2222-4222-8222-222222222222' };
const about = (...vms: readonly { name: string; uuid: string }[]): Subject => ({ is: 'part', vms });
const stick = (...vms: readonly { name: string; uuid: string }[]): Subject => ({
  ...{ is: 'part', vms },
  device: { key: 'dom0:3-1', interfaces: ['080650'] },
});
const isAllowed = (grants: readonly Grant[], right: (typeof RIGHTS)[number], subject: Subject) =>
  whatIsMissing(grants, right, subject) === undefined;

test('nobody may anything, unless something allows it', () => {
  for (const right of RIGHTS) {
    for (const subject of [HOST, about(), about(work), stick(), stick(work)]) {
      assert.equal(isAllowed([], right, subject), false);
      assert.equal(isAllowed(EVERYTHING, right, subject), true);
    }
    assert.equal(isAllowedSomewhere([], right), false);
  }
});

test('a right includes those before it, and none after it', () => {
  for (const [i, may] of RIGHTS.entries()) {
    for (const [j, right] of RIGHTS.entries()) assert.equal(isAllowed([{ may }], right, HOST), j <= i);
  }
});

test('a right over a VM covers that VM, by name or uuid, and nothing else', () => {
  for (const vm of ['work', work.uuid, work.uuid.toUpperCase()]) {
    const grants: Grant[] = [{ may: 'control', vms: [vm] }];
    assert.ok(isAllowed(grants, 'control', about(work)));
    assert.ok(!isAllowed(grants, 'control', about(play)));
    assert.ok(!isAllowed(grants, 'control', about(work, play)), 'what touches two VMs needs both');
    assert.ok(!isAllowed(grants, 'control', HOST));
    assert.ok(!isAllowed(grants, 'write', about(work)));
  }
});

test('rights over VMs add up', () => {
  const grants: Grant[] = [
    { may: 'attach', vms: ['work'] },
    { may: 'control', vms: ['play'] },
  ];
  assert.ok(isAllowed(grants, 'attach', stick(work, play)));
  assert.ok(!isAllowed(grants, 'control', stick(work, play)));
});

test('a device in no VM may be looked at by whoever may look at something, and taken only to a VM of theirs', () => {
  const grants: Grant[] = [{ may: 'control', vms: ['work'] }];
  assert.ok(isAllowed(grants, 'read', stick()));
  assert.ok(!isAllowed(grants, 'attach', stick()));
  assert.ok(isAllowed(grants, 'attach', stick(work)));
});

test('a right over a class of devices covers devices that are of it and of nothing else', () => {
  const grants: Grant[] = [{ may: 'attach', deviceClasses: ['storage'] }];
  const withInterfaces = (...interfaces: string[]): Subject => ({
    ...{ is: 'part', vms: [work] },
    device: { key: 'dom0:3-1', interfaces },
  });
  assert.ok(isAllowed(grants, 'attach', withInterfaces('080650')));
  assert.ok(isAllowed(grants, 'attach', withInterfaces('080650', '080662')));
  assert.ok(!isAllowed(grants, 'attach', withInterfaces('030101')));
  assert.ok(!isAllowed(grants, 'attach', withInterfaces('030101', '080650')), 'a stick that types is no stick');
  assert.ok(!isAllowed(grants, 'attach', withInterfaces()), 'what is not known is not covered');
  assert.ok(!isAllowed(grants, 'read', about(work)), 'a VM is no device');
  assert.ok(!isAllowed(grants, 'read', HOST));
});

test('a right over a class and a VM needs both', () => {
  const grants: Grant[] = [{ may: 'attach', vms: ['work'], deviceClasses: ['storage'] }];
  assert.ok(isAllowed(grants, 'attach', stick(work)));
  assert.ok(!isAllowed(grants, 'attach', stick(play)));
  const keyboard: Subject = { is: 'part', vms: [work], device: { key: 'dom0:1-1', interfaces: ['030101'] } };
  assert.ok(!isAllowed(grants, 'attach', keyboard));
});

test('says what is missing and what is there', () => {
  const grants: Grant[] = [{ may: 'read' }, { may: 'attach', vms: ['work'], deviceClasses: ['storage', 'hid'] }];
  assert.equal(
    whatIsMissing(grants, 'control', about(play)),
    'it needs "control" over VM play, and what they have is "read" and "attach" over storage or hid devices in VM work',
  );
  assert.equal(whatIsMissing([], 'read', HOST), 'it needs "read" on the whole host, and what they have is nothing');
  const two = 'it needs "attach" over device dom0:3-1 and VM work, and what they have is nothing';
  assert.equal(whatIsMissing([], 'attach', stick(work)), two);
});

test('property: a limit never allows more than the same right without it, and more grants never less', () => {
  const grant = fc.record<Grant>(
    {
      may: fc.constantFrom(...RIGHTS),
      vms: fc.subarray(['work', 'play', work.uuid]),
      deviceClasses: fc.subarray(['storage', 'hid', '0806']),
    },
    { requiredKeys: ['may'], noNullPrototype: true },
  );
  const subject: fc.Arbitrary<Subject> = fc.oneof(
    fc.constant(HOST),
    fc
      .tuple(fc.subarray([work, play]), fc.option(fc.subarray(['080650', '030101', 'ff0000'])))
      .map(([vms, interfaces]): Subject => {
        return { is: 'part', vms, device: interfaces === null ? undefined : { key: 'dom0:1-1', interfaces } };
      }),
  );
  fc.assert(
    fc.property(
      fc.array(grant, { maxLength: 4 }),
      grant,
      fc.constantFrom(...RIGHTS),
      subject,
      (grants, one, right, about) => {
        if (isAllowed(grants, right, about)) assert.ok(isAllowed([...grants, one], right, about));
        if (isAllowed([one], right, about)) assert.ok(isAllowed([{ may: one.may }], right, about));
        if (isAllowed(grants, right, about)) assert.ok(isAllowedSomewhere(grants, right));
      },
    ),
  );
});

test('knows classes by word and by hex digits', () => {
  for (const name of ['storage', 'hid', '08', '0806', '080650']) assert.ok(isDeviceClass(name), name);
  for (const name of ['', 'Storage', '8', '080', 'constructor', '08065000']) assert.ok(!isDeviceClass(name), name);
  assert.ok(isOnlyOf(['080650'], ['0806']));
  assert.ok(!isOnlyOf(['080150'], ['0806']));
});

test('reads the interfaces out of a device id', () => {
  assert.deepEqual(interfacesOfId('0951:1666:a%3Ab:030101.080650'), ['030101', '080650']);
  assert.deepEqual(interfacesOfId('0951:1666::'), []);
  assert.deepEqual(interfacesOfId('nonsense'), []);
});
