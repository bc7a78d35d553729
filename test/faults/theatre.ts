/** Plays a fault at a moment in a simulated world, and holds what comes of it against what was to be. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { UsbDevice } from '../../src/model/usb.ts';
import { deviceKey } from '../../src/model/usb.ts';
import { FaultStage, type StageOptions } from './fault-stage.ts';
import { isLeaving, type Moment } from './moments.ts';
import { type Play, SUBJECT } from './plays.ts';

/**
 * What becomes of the daemon: it goes on and is told once to bring everything where it belongs; it goes on and nobody tells
 * it anything; or it is killed in the very moment of the fault, and another one comes.
 */
export const FATES = ['told once', 'by itself', 'killed'] as const;
export type Fate = (typeof FATES)[number];

/** Longer than the next sweep, and than the waits of some tries. */
const BY_ITSELF_MS = 70_000;

/** What must not change while a fault is about something else. */
interface Undisturbed {
  readonly handle: number;
  readonly bootId: string;
}

export class Theatre {
  readonly stage: FaultStage;
  readonly #play: Play;
  readonly #subject: { readonly backend: string; readonly busid: string; readonly serial: string };
  readonly #key: string;
  #others: ReadonlyMap<string, Undisturbed> = new Map();
  #since = { journal: 0, audit: 0 };

  constructor(play: Play, options: StageOptions = {}) {
    this.#play = play;
    this.stage = new FaultStage(options);
    this.#subject = { ...SUBJECT, ...play.subject };
    this.#key = deviceKey(this.#subject);
  }

  /** Opens a daemon with a VM that the fault is about, and one that has a device and is not to notice anything. */
  async open(): Promise<void> {
    const { stage } = this;
    this.#play.prepare?.(stage);
    this.#writePolicy();
    await stage.openDaemon();
    await stage.makeVm('other');
    await stage.makeVm('work', [...(this.#play.work ?? ['usbctrl = version=3,ports=8']), 'on_crash = preserve']);
    await stage.makeVm('spare');
    stage.plug('1-9', 'B1');
    await stage.do('usb.assign', { vm: 'other', device: '0951:1666:B1:*', mode: 'auto' });
    await stage.pass(1_000);
    for (const serial of this.#play.rules === undefined ? ['S*', 'H*', 'W*'] : [])
      await stage.do('usb.assign', { vm: 'work', device: `0951:1666:${serial}:*`, mode: 'auto' });
    this.#noteAll();
  }

  /** Plays the fault once, and leaves everything as it was. */
  async play(moment: Moment, fate: Fate): Promise<void> {
    const { stage } = this;
    await this.#begin(moment);
    const play = this.#play;
    stage.arm(moment, this.#key, () => {
      play.strike(stage);
      if (fate === 'killed') stage.killDaemon();
    });
    if (isLeaving(moment)) stage.askAside('usb.detach', { device: this.#key });
    else if (moment === 'attached') stage.rest(this.#key);
    else this.#plugSubject();
    await stage.struck();
    await stage.pass(1_000);
    const [relief, ...more] = play.after ?? [];
    const first = [async () => {}, ...(relief === undefined ? [] : [relief])];
    const phases = [...first, ...more];
    if (fate === 'killed') {
      if (play.isReliefFirst === true) await relief?.(stage);
      await stage.openDaemon();
      if (play.isReliefFirst === true) phases.splice(0, 2, async () => {});
    }
    for (const [i, phase] of phases.entries()) {
      await phase(stage);
      if (i === 0 && phases.length > 1 && play.isFirstUnasked === true) continue;
      await stage.quiet();
      await stage.pass(1_000);
      await stage.until('VM work rests', () => !/ing$/.test(stage.stateOf('work')?.replace('running', '') ?? ''));
      if (fate === 'by itself') await stage.pass(BY_ITSELF_MS);
      else await stage.do('usb.reconcile', {});
      this.#check(i);
    }
    await this.#checkRest();
    await this.#end();
  }

  /** Checks everything that is checked after a fault. */
  checkAll(): void {
    this.#check(0);
  }

  /** Checks that the whole trail of all that was played hangs together. */
  async checkChain(): Promise<void> {
    const verdict = await this.stage.finish(this.stage.engine.audit.verify());
    assert.ok(verdict.isIntact, verdict.says);
  }

  async #begin(moment: Moment): Promise<void> {
    const { stage } = this;
    this.#play.begin?.(stage);
    if (moment === 'attached' || isLeaving(moment)) {
      this.#plugSubject();
      const outcome = () => stage.engine.router.verdictOf(this.#key)?.outcome;
      await stage
        .until('The attach', () => outcome()?.is === 'attached')
        .catch((error: unknown) => {
          throw new Error(`before the fault: ${JSON.stringify(outcome())}`, { cause: error });
        });
      await stage.pass(1_000);
    }
    this.#noteAll();
  }

  /** From here on it counts what happens. */
  #noteAll(): void {
    const { world, engine, vmNames } = this.stage;
    this.#since = { journal: world.journal().length, audit: engine.audit.head().row };
    this.#others = new Map(vmNames.map((name) => [name, this.#lookAt(name)]));
  }

  #plugSubject(): void {
    const { backend, busid, serial } = this.#subject;
    this.stage.plug(busid, serial, { backend, ...this.#play.subject });
  }

  /** Everything is pulled but the bystander's device, every VM runs, and nothing is remembered that was about the fault. */
  async #end(): Promise<void> {
    const { stage } = this;
    stage.world.disturbances.calm();
    for (const backend of stage.world.backends()) {
      for (const { busid, untrustedSerial } of [...stage.world.devices(backend)])
        if (untrustedSerial !== 'B1' && untrustedSerial !== 'U1') stage.unplug(busid, backend);
    }
    if (this.#writePolicy()) await stage.do('policy.load', {});
    await stage.until('VM work runs', () => stage.stateOf('work') === 'running');
    await stage.do('usb.reconcile', {});
    const left = stage.world.list().flatMap(({ attachments }) => attachments);
    assert.deepEqual(
      left.map((one) => deviceKey(one)),
      ['dom0:1-9'],
      'in the end',
    );
  }

  #writePolicy(): boolean {
    if (this.#play.rules !== undefined) writeFileSync(this.stage.places.policyFile, this.#play.rules);
    return this.#play.rules !== undefined;
  }

  #lookAt(name: string): Undisturbed {
    const { world } = this.stage;
    const uuid = this.stage.uuidOf(name);
    return { handle: world.find(uuid)?.handle ?? 0, bootId: world.guest(uuid, 'look')?.bootId ?? '' };
  }

  #check(phase: number): void {
    const { world } = this.stage;
    const places = new Map<string, string[]>();
    for (const { name, attachments, run } of world.list()) {
      if (run === 'dead') continue; // What it has, it has for nobody any more; it is given back when it is cleared away.
      for (const one of attachments) places.set(deviceKey(one), [...(places.get(deviceKey(one)) ?? []), name]);
    }
    const plugged = world.backends().flatMap((backend) => world.devices(backend));
    for (const device of plugged) this.#checkDevice(device, places.get(deviceKey(device)) ?? [], phase);
    const plugs = new Set(plugged.map((device) => `${deviceKey(device)} ${device.generation}`));
    const left = world
      .list()
      .filter(({ run }) => run !== 'dead')
      .flatMap(({ attachments }) => attachments)
      .filter(({ backend }) => world.backends().includes(backend))
      .map((one) => `${deviceKey(one)} ${one.generation}`)
      .filter((plug) => !plugs.has(plug));
    assert.deepEqual(left, [], 'what is pulled still has a port');
    for (const [name, before] of this.#others) {
      if (name === 'work' && this.#play.endsWork === true) continue;
      assert.deepEqual(this.#lookAt(name), before, `VM ${name} was disturbed`);
    }
    const journal = world.journal().slice(this.#since.journal);
    if (this.#play.isAboutAll !== true) {
      const other = this.stage.uuidOf('other');
      assert.deepEqual(
        journal.filter(({ uuid }) => uuid === other),
        [],
        'something was done to a VM that the fault is not about',
      );
    }
    this.#checkTrail(journal);
  }

  /** Its place is where it belongs; or it is in none, and its verdict says what it waits for. */
  #checkDevice(device: UsbDevice, places: readonly string[], phase: number): void {
    const { engine } = this.stage;
    const key = deviceKey(device);
    const what = `${key} (${device.untrustedSerial}), phase ${phase}`;
    assert.ok(places.length <= 1, `${what} is in ${places.join(' and ')}`);
    const verdict = engine.router.verdictOf(key);
    assert.ok(verdict !== undefined, `${what} is unknown`);
    const { outcome } = verdict;
    const said = `${what}: ${JSON.stringify(outcome)}`;
    const home = this.#homeOf(device);
    if (home === undefined) {
      assert.deepEqual([places, outcome.is], [[], 'left'], said);
      return;
    }
    const vm = this.stage.uuidOf(home);
    const isOpen = engine.fleet.find(vm)?.isOpen === true && engine.fleet.domainOf(vm) !== undefined;
    const reason = isOpen ? (home === 'work' ? this.#play.waits?.(device, this.stage) : undefined) : 'vm';
    if (reason === undefined)
      assert.deepEqual([places, outcome.is, 'vm' in outcome && outcome.vm], [[home], 'attached', vm], said);
    else if (outcome.is === 'waiting')
      assert.deepEqual([places, outcome.for, outcome.detail !== ''], [[], reason, true], said);
    else assert.equal(outcome.is, reason, said);
  }

  #homeOf(device: UsbDevice): string | undefined {
    const { inventory, fleet } = this.stage.engine;
    const hold = inventory
      .holds()
      .find((one) => deviceKey(one) === deviceKey(device) && one.generation === device.generation);
    if (hold !== undefined) return hold.vm === undefined ? undefined : fleet.nameOf(hold.vm);
    const serial = device.untrustedSerial ?? '';
    if (serial === SUBJECT.serial && this.#play.belongs !== undefined) return this.#play.belongs;
    if (serial === 'B1') return 'other';
    return /^[SHWF]/.test(serial) ? 'work' : undefined;
  }

  #checkTrail(journal: readonly { method: string; device?: string; fault?: string }[]): void {
    const { audit } = this.stage.engine;
    assert.deepEqual(
      audit.openIntents().map(({ action, row }) => `${action} ${row}`),
      [],
      'intents without an outcome',
    );
    assert.equal(audit.owed, 0, 'outcomes are owed');
    const rows = audit.list({ after: this.#since.audit, limit: 10_000 });
    for (const [method, action] of [
      ['attachDevice', 'step.attach'],
      ['detachDevice', 'step.detach'],
    ] as const) {
      const done = journal
        .filter((one) => one.method === method && one.fault === undefined)
        .map(({ device }) => device);
      const intended = rows.filter((row) => row.kind === 'intent' && row.action === action).map(({ device }) => device);
      for (const device of new Set(done)) {
        const counts = [done, intended].map((list) => list.filter((one) => one === device).length);
        assert.ok((counts[0] ?? 0) <= (counts[1] ?? 0), `${method} ${device}: ${counts.join(' times, intents: ')}`);
      }
    }
  }

  /** A further pass finds nothing to do. */
  async #checkRest(): Promise<void> {
    const { stage } = this;
    const before = stage.world.journal().length;
    await stage.do('usb.reconcile', {});
    assert.deepEqual(stage.world.journal().slice(before), [], 'a further pass found more to do');
  }
}
