/**
 * Wishes that would take the last keyboard from the person in front of a real Xen host: a USB keyboard is plugged in, a
 * command says what is wished, and then keys are pressed from outside. Each row of test/policy/lock-out.test.ts that is
 * here, too, has its name from there.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { shellWord } from '../../lab/shell-word.ts';
import { XenHost } from '../../lab/xen-host.ts';
import type { AssignmentView, ExplainView } from '../../src/api/views.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';
import { PV_GUEST } from './guests.ts';
import { Keyboard } from './keyboard.ts';

/** QEMU's keyboards and mice say that they are this. */
const PRODUCT = '0627:0001';
const [DESK, MOUSE, SPARE] = ['1-1', '1-2', '1-3'];
const NO_RULES = 'rules: []\n';

interface Row {
  readonly name: string;
  /** There is a second keyboard, which is the one that is typed on for as long as it is plugged. */
  readonly hasSpare?: boolean;
  readonly wish: (desk: Desk) => Promise<void>;
  /** What the host keeps, and is told to be kept back. Default: the keyboard of the desk. Nothing is when a hand was refused. */
  readonly kept?: string | 'refused';
  /** What the VM has in the end. */
  readonly taken?: readonly string[];
}

const rule = (match: string) => `rules:\n  - match: ${match}\n    attach: work\n`;
const policy = (match: string) => (desk: Desk) => desk.load(rule(match));

const TABLE: readonly Row[] = [
  { name: 'everything', wish: policy('everything') },
  { name: 'keyboards and mice, said explicitly', wish: policy('{ class: [keyboard, mouse] }') },
  { name: 'keyboard and mouse by their ids', wish: policy(`{ id: ${PRODUCT} }`) },
  { name: 'a root hub and what types', wish: policy('{ hub: usb1, class: keyboard }') },
  { name: 'a modem that turns out to be a keyboard', wish: policy(`{ switches: [12d1:1f01, ${PRODUCT}] }`) },
  { name: 'an assignment by id', wish: (desk) => desk.command('usb', 'assign', 'work', PRODUCT, '--auto') },
  {
    name: 'a required assignment',
    wish: (desk) => desk.command('usb', 'assign', 'work', `dom0:${DESK}`, '--mode', 'required'),
  },
  {
    name: 'a hand by force, on both',
    wish: async (desk) => {
      for (const busid of [DESK, MOUSE]) await desk.refused('usb', 'attach', 'work', `dom0:${busid}`, '--force');
    },
    kept: 'refused',
  },
  {
    name: 'two keyboards at once, by one rule',
    hasSpare: true,
    wish: policy('{ class: keyboard }'),
    ...{ kept: SPARE, taken: [DESK] },
  },
  {
    name: 'two keyboards one after the other, the second by force',
    hasSpare: true,
    wish: async (desk) => {
      await desk.command('usb', 'assign', 'work', `dom0:${DESK}`, '--auto');
      await desk.refused('usb', 'attach', 'work', `dom0:${SPARE}`, '--force');
    },
    ...{ kept: 'refused', taken: [DESK] },
  },
  {
    name: 'the other keyboard is pulled while the VM has one',
    hasSpare: true,
    wish: async (desk) => {
      await desk.command('usb', 'assign', 'work', `dom0:${DESK}`, '--auto');
      await desk.usher.waitAttached(DESK, 'work');
      await desk.usher.pull('SPARE');
      await desk.usher.eventually('the keyboard of the desk is back', async () => (await desk.inVm()).length === 0);
    },
  },
];

/** What is done in dom0 by who sits at the desk. */
class Desk {
  readonly usher: Dom0Usher;
  readonly keyboard: Keyboard;

  constructor(usher: Dom0Usher) {
    this.usher = usher;
    this.keyboard = new Keyboard(usher);
  }

  /** Gives a command, which is taken. */
  async command(...words: readonly string[]): Promise<void> {
    const { status, output } = await this.usher.usher(...words);
    assert.equal(status, 0, output);
  }

  /** Gives a command, which is refused, for it would take the last one. */
  async refused(...words: readonly string[]): Promise<void> {
    const { status, output } = await this.usher.usher(...words);
    assert.match(output, /is not given to VM work: .*it is the last USB/);
    assert.equal(status, 5);
  }

  async load(text: string): Promise<void> {
    await this.usher.check(`printf %s ${shellWord(text)} > ${this.usher.home}/policy.yaml`);
    await this.command('policy', 'load');
  }

  /** Starts the daemon with these settings; the guard is on unless they say otherwise. */
  async start(settings: string): Promise<void> {
    const { home } = this.usher;
    await this.usher.check(`mkdir -p ${home}; printf %s ${shellWord(settings)} > ${home}/usherd.yaml`);
    await this.usher.startDaemon();
  }

  /** Gives what the VM has, when all is at rest. */
  async inVm(): Promise<readonly string[]> {
    const devices = await this.usher.ask<{ device: string; state: string }[]>('usb.reconcile');
    return devices.flatMap(({ device, state }) => (state === 'attached' ? [device.slice('dom0:'.length)] : []));
  }

  /** Takes back everything that was wished, and the second keyboard; a hand that was refused has left nothing. */
  async clear(): Promise<void> {
    const { usher } = this;
    for (const { id } of await usher.ask<AssignmentView[]>('usb.assignments')) {
      await usher.ask('usb.unassign', { assignment: id });
    }
    await usher.check(`printf %s ${shellWord(NO_RULES)} > ${usher.home}/policy.yaml`);
    await usher.ask('policy.load');
    if (usher.hands.plugged.some(({ name }) => name === 'SPARE')) await usher.pull('SPARE');
    assert.deepEqual(await this.inVm(), []);
  }
}

describe('the lock-out table on real Xen', () => {
  let desk: Desk;
  const plugSpare = () => desk.usher.plug('keyboard', { serial: 'SPARE', port: '3' });

  before(async () => {
    const usher = new Dom0Usher(await XenHost.restore({ dist: DIST }));
    desk = new Desk(usher);
    await usher.plug('keyboard', { serial: 'DESK', port: '1' });
    await usher.plug('mouse', { serial: 'MOUSE', port: '2' });
    await desk.start('neverCountsAsInput: []\n');
    await usher.startGuest('work', PV_GUEST);
  });
  afterEach(() => desk.clear());
  after(() => desk?.usher.stop());

  for (const { name, hasSpare = false, wish, kept = DESK, taken = [] } of TABLE) {
    it(`${name}: what is typed afterwards arrives in dom0`, async () => {
      if (hasSpare) await plugSpare();
      await wish(desk);
      assert.deepEqual(await desk.inVm(), taken);
      assert.equal(await desk.keyboard.heard('usher'), 'usher');
      if (kept === 'refused') return;
      const { because } = await desk.usher.ask<ExplainView>('usb.explain', { device: `dom0:${kept}` });
      assert.match(because.join(' '), /It is kept back: .*last USB keyboard of the host/);
    });
  }

  it('what is typed on a keyboard that may go is the VM’s, and dom0 hears nothing of it', async () => {
    await plugSpare();
    await desk.command('usb', 'assign', 'work', `dom0:${SPARE}`, '--auto');
    assert.deepEqual(await desk.inVm(), [SPARE]);
    assert.equal(await desk.keyboard.heard('usher'), '');
  });

  it('without the guard a wish takes the last keyboard, and nothing that is typed arrives', async () => {
    await desk.usher.endDaemon('TERM');
    await desk.start('neverCountsAsInput: ["*"]\n');
    await desk.load(rule('{ class: [keyboard, mouse] }'));
    assert.deepEqual(await desk.inVm(), [DESK, MOUSE]);
    assert.equal(await desk.keyboard.heard('usher'), '');
  });
});
