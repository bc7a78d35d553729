import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { UsbSlot } from '../model/usb.ts';
import type { ObservedVm } from './plan-types.ts';
import { Ports } from './ports.ts';
import { attached, controller, runningVm, stick } from './test-world.ts';

const D = stick('dom0:1-1');

function vmWith(taken: readonly UsbSlot[], sharesPortNumbers: boolean): ObservedVm {
  const controllers = [0, 1].map((index) => ({ ...controller(index), ports: 2, sharesPortNumbers }));
  return runningVm(
    1,
    taken.map((slot, i) => ({ ...attached(stick(`dom0:2-${i + 1}`), 1), ...slot })),
    { controllers },
  );
}

const take = (taken: readonly UsbSlot[], asked?: UsbSlot, sharesPortNumbers = true) =>
  new Ports(new Map()).take(vmWith(taken, sharesPortNumbers), D, { asked });

suite('controllers that share port numbers', () => {
  test('a number that one of them has is not taken on another', () => {
    assert.deepEqual(take([{ controller: 0, port: 1 }]), { slot: { controller: 0, port: 2 } });
    assert.deepEqual(take([{ controller: 1, port: 1 }]), { slot: { controller: 0, port: 2 } });
    const full = [
      { controller: 0, port: 1 },
      { controller: 1, port: 2 },
    ];
    assert.equal('lacks' in take(full) && 'port', 'port');
    assert.deepEqual(take(full, undefined, false), { slot: { controller: 0, port: 2 } });
  });

  test('not even when it is asked for, and the reason is said', () => {
    const choice = take([{ controller: 0, port: 1 }], { controller: 1, port: 1 });
    assert.match('detail' in choice ? choice.detail : '', /no use while another controller/);
    assert.deepEqual(take([{ controller: 0, port: 1 }], { controller: 1, port: 2 }), {
      slot: { controller: 1, port: 2 },
    });
  });

  test('one plan gives no number twice', () => {
    const ports = new Ports(new Map());
    const vm = vmWith([], true);
    const slots = [ports.take(vm, D, { asked: { controller: 1, port: 1 } }), ports.take(vm, D), ports.take(vm, D)];
    assert.deepEqual(
      slots.map((choice) => ('slot' in choice ? choice.slot : choice.lacks)),
      [{ controller: 1, port: 1 }, { controller: 0, port: 2 }, 'port'],
    );
  });
});
