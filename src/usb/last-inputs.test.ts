import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import fc from 'fast-check';
import { INPUT_KINDS } from '../model/input-claims.ts';
import { type HostInput, readHostInputs } from './host-inputs.ts';
import { type InputSettings, lastInputs, spareObjection } from './last-inputs.ts';
import type { HostTree } from './testing/host-tree.ts';
import * as hosts from './testing/hosts.ts';

const trees: HostTree[] = [];

function made(tree: HostTree): HostTree {
  trees.push(tree);
  return tree;
}

async function last(tree: HostTree, settings: InputSettings = {}, taken: readonly string[] = []): Promise<string> {
  const { keyboard, pointer } = lastInputs(await readHostInputs(tree.roots), new Set(taken), settings);
  return `${keyboard.join(' ')} / ${pointer.join(' ')}`;
}

function input(more: Partial<HostInput>): HostInput {
  const plain = { name: 'Keyboard', phys: '', vendorId: '046d', isInhibited: false, isReady: true };
  return { ...plain, kinds: ['keyboard'], bus: 'usb', busids: [], ...more };
}

suite('the last keyboard and the last pointer', () => {
  after(() => {
    for (const tree of trees) tree.remove();
  });

  test('a desktop: both are the last, for nobody knows of a PS/2 keyboard; the settings may', async () => {
    const tree = made(hosts.desktop());
    assert.equal(await last(tree), '1-3 / 1-4');
    assert.equal(await last(tree, { countsAsKeyboard: ['isa0060/serio0'] }), ' / 1-4');
    assert.equal(await last(tree, { countsAsKeyboard: ['AT Translated*'] }), ' / 1-4');
    assert.equal(await last(tree, { countsAsPointer: ['isa0060/serio0'] }), '1-3 / 1-4');
  });

  test('a second keyboard frees both, until one is taken', async () => {
    const tree = made(hosts.desktop());
    hosts.usbKeyboard(tree, '1-5');
    assert.equal(await last(tree), ' / 1-4');
    assert.equal(await last(tree, {}, ['1-3']), '1-5 / 1-4');
    assert.equal(await last(tree, {}, ['1-5', '1-4']), '1-3 / ');
  });

  test('a laptop has its own, so that USB ones are free; unless the settings say that it is broken', async () => {
    const tree = made(hosts.laptop());
    hosts.usbKeyboard(tree, '1-1');
    hosts.usbMouse(tree, '1-2');
    assert.equal(await last(tree), ' / ');
    assert.equal(await last(tree, { neverCounts: ['isa0060/serio0'] }), '1-1 / ');
    assert.equal(await last(tree, { neverCounts: ['*Touchpad'] }), ' / 1-2');
  });

  test('a keyboard that is folded away does not count', async () => {
    const tree = made(hosts.pc('31'));
    tree.input({ at: 'devices/platform/i8042/serio0', name: 'AT', bus: '0011', looks: 'ps2Keyboard', inhibited: '1' });
    hosts.usbKeyboard(tree, '1-1');
    assert.equal(await last(tree), '1-1 / ');
  });

  test('a receiver is the last of both, and by itself replaces neither', async () => {
    const tree = made(hosts.wirelessReceiver());
    assert.equal(await last(tree), '1-2 / 1-2');
    hosts.usbKeyboard(tree, '1-3');
    assert.equal(await last(tree), '1-3 / 1-2', 'it may be a mouse with keys for macros');
    assert.equal(await last(tree, { countsAsKeyboard: ['Logitech USB Receiver'] }), ' / 1-2');
  });

  test('a server without any protects the first keyboard; * switches that off', async () => {
    const tree = made(hosts.server());
    assert.equal(await last(tree), ' / ');
    hosts.usbKeyboard(tree, '1-1');
    assert.equal(await last(tree), '1-1 / ');
    assert.equal(await last(tree, { neverCounts: ['*'] }), ' / ');
  });

  test('a KVM switch: both behind it, and nothing when it looks elsewhere', async () => {
    const tree = made(hosts.kvmSwitch());
    assert.equal(await last(tree), '1-1.2.1 / 1-1.2.2');
    tree.unplug('1-1.2.1');
    tree.unplug('1-1.2.2');
    assert.equal(await last(tree), ' / ');
  });

  test('a keyboard that was plugged this moment is protected, and replaces none yet', async () => {
    const tree = made(hosts.desktop());
    tree.unplug('1-3');
    tree.usb('1-7', { interfaces: [['030101']] });
    assert.equal(await last(tree), '1-7 / 1-4');
    hosts.usbKeyboard(tree, '1-3');
    assert.equal(await last(tree), '1-3 / 1-4');
  });

  test('security keys and scanners are no keyboards: they replace none and are free', async () => {
    const tree = made(hosts.desktop());
    tree.usb('1-6', {
      vendor: '1050',
      interfaces: [
        ['030101', 'usbhid'],
        ['030000', 'usbhid'],
      ],
    });
    tree.input({ at: tree.at('1-6:1.0'), name: 'YubiKey', vendor: '1050', looks: 'keyboard' });
    assert.equal(await last(tree), '1-3 / 1-4');
    tree.unplug('1-3');
    assert.equal(await last(tree), ' / 1-4');
  });

  test('a Bluetooth keyboard replaces none, and its adapter is protected when there is no other', async () => {
    const tree = made(hosts.pc());
    hosts.bluetoothAdapter(tree, '1-9');
    tree.input({ at: 'devices/virtual/misc/uhid/0005:1:1.1', name: 'K380', bus: '0005', looks: 'keyboard' });
    assert.equal(await last(tree), '1-9 / ');
    hosts.usbKeyboard(tree, '1-3');
    assert.equal(await last(tree), '1-3 / ');
    assert.equal(await last(tree, { countsAsKeyboard: ['K380'] }), ' / ');
    assert.equal(await last(tree, { countsAsKeyboard: ['K380'] }, ['1-9']), '1-3 / ');
  });

  test('why one does not replace another', () => {
    const objection = (more: Partial<HostInput>, settings: InputSettings = {}) => {
      const one = input(more);
      return spareObjection([one], one, 'keyboard', settings);
    };
    assert.equal(objection({ busids: ['1-1'] }), undefined);
    assert.equal(objection({ bus: 'built-in' }), undefined);
    for (const [more, settings, pattern] of [
      [{}, { neverCounts: ['Key*'], countsAsKeyboard: ['Key*'] }, /settings/],
      [{ isReady: false }, { countsAsKeyboard: ['*'] }, /no kernel driver/],
      [{ isInhibited: true }, {}, /switched off/],
      [{ vendorId: '05f9' }, {}, /scanners/],
      [{ bus: 'virtual' }, {}, /virtual/],
      [{ bus: 'bluetooth' }, {}, /Bluetooth/],
      [{ bus: 'ps2' }, {}, /a keyboard is really plugged/],
      [{ kinds: ['keyboard', 'pointer'], busids: ['1-1'] }, {}, /in one/],
    ] as const)
      assert.match(objection(more, settings) ?? '', pattern);
    assert.equal(objection({ bus: 'virtual' }, { countsAsKeyboard: ['*'] }), undefined);
  });

  test('patterns: whole names, places and those above, stars; no pattern takes long', () => {
    const one = input({ bus: 'virtual', name: 'A+B (x)', phys: 'isa0060/serio0/input0' });
    const counts = (pattern: string) =>
      spareObjection([one], one, 'keyboard', { countsAsKeyboard: [pattern] }) === undefined;
    for (const pattern of [
      'A+B (x)',
      'A*',
      '*x)',
      '*B*',
      'A*B*)',
      '*',
      '**',
      'isa0060',
      'isa0060/serio0',
      'isa*/input0',
    ]) {
      assert.ok(counts(pattern), pattern);
    }
    for (const pattern of [
      '',
      'A',
      'A+B',
      'a*',
      'A.B (x)',
      'isa0060/serio',
      'serio0',
      '*A+B (x)A',
      'A+B (x)*)',
      'A+B*+B (x)',
    ]) {
      assert.ok(!counts(pattern), pattern);
    }
    const long = input({ bus: 'virtual', name: 'a'.repeat(126) });
    const bomb = { countsAsKeyboard: [`${'*a'.repeat(60)}*b`] };
    assert.notEqual(spareObjection([long], long, 'keyboard', bomb), undefined);
  });

  test('whatever the host: taking all that is not last, one after the other, leaves what one can use', () => {
    const anyInput = fc
      .record({
        kinds: fc.subarray([...INPUT_KINDS], { minLength: 1 }),
        bus: fc.constantFrom('usb', 'bluetooth', 'ps2', 'built-in', 'virtual'),
        busids: fc.uniqueArray(fc.constantFrom('1-1', '1-2', '1-3', '1-4'), { maxLength: 2 }),
        isReady: fc.boolean(),
        isInhibited: fc.boolean(),
        vendorId: fc.constantFrom('046d', '1050'),
      })
      .map(input);
    fc.assert(
      fc.property(fc.array(anyInput, { maxLength: 8 }), fc.array(fc.nat({ max: 3 })), (inputs, order) => {
        const taken = new Set<string>();
        for (const at of order) {
          const busid = `1-${at + 1}`;
          const { keyboard, pointer } = lastInputs(inputs, taken);
          if (!keyboard.includes(busid) && !pointer.includes(busid)) taken.add(busid);
        }
        for (const kind of INPUT_KINDS) {
          const ofKind = inputs.filter(({ kinds, vendorId }) => kinds.includes(kind) && vendorId !== '1050');
          const left = ofKind.filter(({ busids }) => !busids.some((busid) => taken.has(busid)));
          const hasLost = left.length < ofKind.length;
          const isUsable = left.some((one) => spareObjection(inputs, one, kind) === undefined);
          assert.ok(!hasLost || isUsable, kind);
        }
      }),
    );
  });
});
