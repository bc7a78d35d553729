/**
 * Faults of the table that can be made to happen with a real QEMU: each strikes as a device is on its way into a VM, and on
 * its way out of it, before QEMU has the command and before the daemon has the answer. What is to be the case afterwards
 * is what the simulated table asks for, and what the guest sees.
 */
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PolicyView } from '../../src/api/views.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { OneStick } from './one-stick.ts';
import { type Passage, QmpGate } from './qmp-gate.ts';

interface Fault {
  /** Has it happen. What it gives is waited for at the end: the daemon may need the line that is held up meanwhile. */
  readonly strike?: (serial: string) => Promise<unknown>;
  /** What the daemon gets for an answer. */
  readonly spoil?: (line: string) => string;
  /** Default: before the command, and before its answer. */
  readonly at?: readonly Passage[];
  /** Ends it, when it lasts. */
  readonly after?: () => Promise<unknown>;
  /** The stick that is plugged in the end, when it is another one, or none. */
  readonly leaves?: (serial: string) => string | undefined;
  /** The VM has another domain afterwards: that is the fault. */
  readonly endsDomain?: boolean;
}

const PATIENCE_MS = 90_000;
/** Long enough for the daemon to have been asked. */
const HELD_MS = 500;

let scene: OneStick;
let gate: QmpGate | undefined;

before(async () => {
  scene = await OneStick.set(['on_crash = preserve']);
});
after(async () => {
  gate?.close();
  await scene.stage.strike();
});

const usher = (...words: string[]) => scene.stage.usher(...words);
const again = (serial: string) => `${serial}-again`;
const FAULTS: Readonly<Record<string, Fault>> = {
  'the answer is cut in mid-line': { spoil: (line) => line.slice(0, line.length / 2), at: ['answered'] },
  'the answer is garbage': { spoil: () => '\0{"return": \n]\n', at: ['answered'] },
  'QEMU stands still': {
    async strike() {
      const { handle = 0 } = await scene.vm.details();
      process.kill(handle, 'SIGSTOP');
      await sleep(3_000);
      process.kill(handle, 'SIGCONT');
    },
  },
  'QEMU is killed': {
    async strike() {
      process.kill((await scene.vm.details()).handle ?? 0, 'SIGKILL');
    },
    async after() {
      const since = scene.vm.console.position;
      await usher('vm', 'destroy', 'work');
      await usher('vm', 'start', 'work');
      // The former guest may have been killed in the middle of a line.
      await scene.vm.console.waitFor(/USHER-GUEST ready /, { timeoutMs: PATIENCE_MS, since });
    },
    endsDomain: true,
  },
  'the VM is paused': { strike: () => usher('vm', 'pause', 'work'), after: () => usher('vm', 'unpause', 'work') },
  'the VM is reset': {
    async strike() {
      const since = scene.vm.console.position;
      await usher('vm', 'reset', 'work');
      await scene.vm.ready(since);
    },
  },
  'the VM is suspended': {
    strike: () => usher('vm', 'suspend', 'work'),
    after: () => usher('vm', 'restore', 'work'),
    endsDomain: true,
  },
  'it is pulled': { strike: () => scene.unplug(), leaves: () => undefined },
  'it is pulled, and another one is put in its place': {
    async strike(serial) {
      await scene.unplug();
      await scene.plug(again(serial));
    },
    leaves: again,
  },
  'another policy is loaded': {
    async strike() {
      await writeFile(await policyFile(), 'rules:\n  - match: everything\n    deny: true\n');
      await usher('policy', 'load');
    },
    async after() {
      await rm(await policyFile());
      await usher('policy', 'load');
    },
  },
};

describe('the fault table, on QEMU', () => {
  for (const [name, fault] of Object.entries(FAULTS)) {
    for (const command of ['device_add', 'device_del'] as const) {
      for (const when of fault.at ?? (['asked', 'answered'] as const)) {
        test(`${name}, as ${command} is ${when}`, () => play(fault, command, when));
      }
    }
  }
});

async function play(fault: Fault, command: 'device_add' | 'device_del', when: Passage): Promise<void> {
  const serial = 'S-1';
  const isAttach = command === 'device_add';
  gate ??= await standBetween();
  if (!isAttach) await scene.plug(serial);
  const { handle } = await scene.vm.details();
  let striking: Promise<unknown> = Promise.resolve();
  gate.once({
    command,
    when,
    async strike() {
      striking = fault.strike?.(serial) ?? striking;
      striking.catch(() => undefined); // It is told below.
      await sleep(HELD_MS);
    },
    ...(fault.spoil === undefined ? {} : { spoil: fault.spoil }),
  });
  await (isAttach ? scene.plug(serial) : scene.unplug());
  assert.ok(gate.hasStruck, 'the fault did not happen');
  await striking;
  if (fault.endsDomain === true) {
    gate.close();
    gate = undefined;
  }
  await fault.after?.();

  const usual = isAttach ? serial : undefined;
  const wished = fault.leaves === undefined ? usual : fault.leaves(serial);
  await pollUntil({ what: 'The device in its place', timeoutMs: PATIENCE_MS, everyMs: 200 }, async () => {
    await usher('usb', 'reconcile');
    const { attachments } = await scene.vm.details();
    const count = wished === undefined ? 0 : 1;
    return attachments.length === count || undefined;
  });
  await scene.expectAttached(wished);
  if (fault.endsDomain !== true) assert.equal((await scene.vm.details()).handle, handle, 'the guest was disturbed');
  await scene.expectTrailClosed();
  if (wished !== undefined) assert.equal((await scene.unplug()).status, 0);
}

/** Has the next daemon come by a gate. */
async function standBetween(): Promise<QmpGate> {
  const { stage, vm } = scene;
  const { uuid } = await vm.details();
  await stage.endDaemon('SIGTERM');
  const made = await QmpGate.before(join(stage.home, 'run', 'qemu', uuid, 'qmp.sock'));
  await stage.startDaemon();
  return made;
}

async function policyFile(): Promise<string> {
  const { file } = await scene.stage.ask<PolicyView>('policy', 'show');
  assert.ok(dirname(file).startsWith(scene.stage.home), file);
  return file;
}
