/** A VM with a real QEMU and one stick that is assigned to it, for faults to strike: and what has to be the case afterwards. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { makeStick } from '../../lab/stick.ts';
import type { AuditVerification, AuditView } from '../../src/api/views.ts';
import { type CommandResult, Stage, type StageVm } from '../support/stage.ts';

/** Where the stick is plugged. */
export const PLACE = 'virtual:1-1';
/** An emulated guest on a busy machine takes its time. */
const GUEST_MS = 60_000;

export class OneStick {
  readonly stage: Stage;
  readonly vm: StageVm;
  readonly #file: string;

  private constructor(stage: Stage, vm: StageVm, file: string) {
    this.stage = stage;
    this.vm = vm;
    this.#file = file;
  }

  /** Starts a daemon and the VM, whose config has these lines, too. To be ended by `stage.strike()`. */
  static async set(config: readonly string[] = []): Promise<OneStick> {
    const stage = await Stage.set();
    const file = join(stage.home, 'stick.img');
    await makeStick(file, { sizeMiB: 1 });
    await stage.startDaemon();
    const vm = await stage.makeVm('work', config);
    await stage.usher('vm', 'start', 'work');
    await vm.ready();
    await stage.usher('usb', 'assign', 'work', PLACE, '--auto');
    return new OneStick(stage, vm, file);
  }

  /** Plugs a stick of that serial number, whatever comes of it. */
  plug(serial: string): Promise<CommandResult> {
    return this.stage.try('usb', 'plug', '--at', PLACE, '--kind', 'storage', '--file', this.#file, '--serial', serial);
  }

  unplug(): Promise<CommandResult> {
    return this.stage.try('usb', 'unplug', PLACE);
  }

  /** Compares what the hypervisor says and what the guest sees with what is wished: the stick of that serial number, or none. */
  async expectAttached(serial: string | undefined): Promise<void> {
    const { vm } = this;
    const { attachments } = await vm.details();
    assert.deepEqual(
      attachments.map(({ deviceId }) => deviceId),
      serial === undefined ? [] : [`46f4:0001:${serial}:080650`],
    );
    const deadline = performance.now() + GUEST_MS;
    for (;;) {
      const since = await vm.type('usb');
      const end = await vm.console.waitFor(/^USHER-GUEST usb-end/, { timeoutMs: GUEST_MS, since });
      const sticks = vm.console.lines
        .slice(since, end.index)
        .flatMap(({ text }) => /^USHER-GUEST usb= .* serial=(S-\S*)/.exec(text)?.[1] ?? []);
      if (sticks.join() === (serial ?? '')) return;
      assert.ok(performance.now() < deadline, `the guest sees ${sticks.join() || 'no stick'}, not ${serial ?? 'none'}`);
    }
  }

  /** Every intent has its outcome, no daemon closed a step of its own, and the trail hangs together. */
  async expectTrailClosed(): Promise<void> {
    const rows = await this.stage.ask<AuditView[]>('audit', 'list', '--limit', '10000');
    const concluded = new Set(rows.map((row) => row.intent));
    const open = rows.filter((row) => row.kind === 'intent' && !concluded.has(row.row));
    assert.deepEqual(open, [], 'intents without an outcome');
    const byRow = new Map(rows.map((row) => [row.row, row]));
    for (const row of rows.filter((other) => other.details['closedAtStart'] === true)) {
      assert.notEqual(byRow.get(row.intent ?? 0)?.actor.pid, this.stage.daemonPid, 'a daemon closed a step of its own');
    }
    assert.ok((await this.stage.ask<AuditVerification>('audit', 'verify')).isIntact);
  }
}
