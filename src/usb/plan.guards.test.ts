import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ObjectionKind } from '../model/host-use.ts';
import type { Rule } from '../model/policy.ts';
import { explain } from './explain.ts';
import { assignment, attached, holdIn, planned, runningVm, stick, world } from './test-world.ts';

const vms = [runningVm(1)];
const kept = (...kinds: ObjectionKind[]) =>
  stick('dom0:1-1', { objections: kinds.map((kind) => ({ kind, says: `it is ${kind}` })) });
const rule = (match: Rule['match']) =>
  ({ mode: 'enforce', rules: [{ match, action: { do: 'attach', vm: 'vm1' } }], expect: [] }) as const;
const EXACT = '0951:1666:S1:*';

describe('plan: what speaks against taking a device', () => {
  for (const kind of ['mounted', 'swap', 'held', 'boot disk', 'network'] as const) {
    test(`${kind}: no assignment takes it, a hand only by force`, () => {
      const device = kept(kind);
      const assignments = [assignment(1, 1, EXACT)];
      assert.deepEqual(planned({ devices: [device], vms, assignments }), { steps: [], outcome: 'left' });
      assert.equal(planned({ devices: [device], vms, holds: [holdIn(device, 1)] }).outcome, 'left');
      const forced = holdIn(device, 1, { isForced: true });
      assert.equal(planned({ devices: [device], vms, holds: [forced] }).outcome, 'attaching vm1');
    });
  }

  for (const kind of ['keyboard', 'pointer', 'input'] as const) {
    test(`${kind}: an assignment takes it that names it, or its port`, () => {
      const device = { ...kept(kind), location: '0000:00:14.0/1' };
      const by = (pattern: string) => planned({ devices: [device], vms, assignments: [assignment(1, 1, pattern)] });
      assert.equal(by('dom0:*').outcome, 'left');
      assert.equal(by('0951:*').outcome, 'left');
      assert.equal(by('dom0:0000:00:14.0/*').outcome, 'left');
      assert.equal(by('dom0:1-1').outcome, 'attaching vm1');
      assert.equal(by('dom0:0000:00:14.0/1').outcome, 'attaching vm1');
      assert.equal(by(EXACT).outcome, 'attaching vm1');
      assert.equal(planned({ devices: [device], vms, holds: [holdIn(device, 1)] }).outcome, 'left');
    });

    test(`${kind}: a rule takes it that is explicit`, () => {
      const device = kept(kind);
      const by = (match: Rule['match']) => planned({ devices: [device], vms, policy: rule(match) }).outcome;
      assert.equal(by({ port: ['dom0:1-1'] }), 'left');
      assert.equal(by({ hub: ['dom0:usb1'] }), 'left');
      assert.equal(by({ id: [EXACT] }), 'attaching vm1');
    });
  }

  for (const kind of ['last keyboard', 'last pointer'] as const) {
    test(`${kind}: nobody takes it, not even by force`, () => {
      const device = kept(kind);
      for (const wish of [
        { assignments: [assignment(1, 1, `dom0:1-1:${EXACT}`)] },
        { assignments: [assignment(1, 1, EXACT, 'required')] },
        { holds: [holdIn(device, 1, { isForced: true })] },
        { policy: rule({ id: [EXACT] }) },
      ]) {
        assert.deepEqual(planned({ devices: [device], vms, ...wish }), { steps: [], outcome: 'left' });
      }
    });
  }

  test('nobody is asked about it either', () => {
    const assignments = [assignment(1, 1, EXACT, 'ask')];
    assert.deepEqual(planned({ devices: [kept('mounted')], vms, assignments }).steps, []);
  });

  test('what is in the VM already stays there', () => {
    const device = kept('mounted', 'last keyboard');
    const inside = [runningVm(1, [attached(device, 1)])];
    assert.equal(
      planned({ devices: [device], vms: inside, assignments: [assignment(1, 1, EXACT)] }).outcome,
      'attached vm1',
    );
  });

  test('the gravest that counts is said, and who is kept from it', () => {
    const device = kept('boot disk', 'keyboard');
    const input = world({ devices: [device], vms, assignments: [assignment(4, 1, EXACT)] });
    const { because, losers, changes } = explain(input, 'dom0:1-1') ?? { because: [], losers: [], changes: [] };
    assert.match(because.join(' '), /It is kept back: it is boot disk\. Assignment 4 \(.*\) gives it to VM vm1/);
    assert.deepEqual(
      losers.map((loser) => loser.because),
      ['it is boot disk'],
    );
    assert.ok(changes.some(({ command }) => command === 'usher usb attach vm1 dom0:1-1 --force --confirm 30s'));
  });
});
