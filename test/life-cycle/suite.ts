/**
 * A VM's whole life as the user of `xenvm` has it, the same on every hypervisor: `describeLifeCycle('qemu', makeRig)`.
 * One guest boots; its checkpoint is where most tests begin, for a boot takes longer than all the rest.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { placesOf } from '../../src/config/places.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { newUuid, type VmUuid } from '../../src/model/ids.ts';
import type { GuestHand } from '../contract/rig.ts';
import { type BeginOptions, MonitorProcess } from './monitor-process.ts';
import type { LifeRig } from './rig.ts';

/** So many restarts by themselves, and no more; at once, for the sake of time. */
const MAX_RESTARTS = 3;
const SETTINGS = `restartIntervalSeconds: 0\nmaxRestarts: ${MAX_RESTARTS}\n`;
const LOOK_MS = 200;
const STOOD_STILL = /^stood still for \d+\.\d{3} s$/;

/** How a guest ends by itself, and the key that says what is done then. */
const ENDS: readonly [string, string, (guest: GuestHand) => Promise<void>][] = [
  ['panics', 'on_crash', (guest) => guest.panic()],
  ['powers off', 'on_halt', (guest) => guest.powerOff()],
  ['reboots', 'on_reboot', (guest) => guest.reboot()],
];
const POLICIES = ['destroy', 'preserve', 'restart', 'reboot'] as const;

/** Registers the suite for a hypervisor; `makeRig` is called once. */
export function describeLifeCycle(name: string, makeRig: () => Promise<LifeRig>): void {
  describe(`the life of a VM: ${name}`, () => {
    const uuid = newUuid();
    let rig: LifeRig;
    let monitor: MonitorProcess | undefined;
    /** The checkpoint of the guest that has booted, and what it remembers. */
    let booted: { readonly file: string; readonly boot: string };

    const guest = () => rig.guest(uuid);
    const path = (file: string) => join(rig.home, file);
    const begin = async (options?: BeginOptions) => {
      monitor = await MonitorProcess.begin(rig, uuid, options);
      return monitor;
    };
    /** Begins a monitor and has the guest go on from where it had booted. */
    const goOn = async (...more: string[]) => {
      const begun = await begin({ more });
      await begun.does(`restore file=${booted.file} delete=false`);
      await guest().waitReady();
      return begun;
    };
    const goesOn = async () => assert.equal(await guest().bootId(), booted.boot, 'it has booted anew');
    const becomes = (state: string, more: () => Promise<boolean> = async () => true) =>
      pollUntil({ what: `The VM being ${state}`, timeoutMs: rig.patienceMs, everyMs: LOOK_MS }, async () =>
        (await monitor?.status()) === state && (await more()) ? true : undefined,
      ).catch((error: unknown) => {
        throw new Error(`${String(error)} The log:\n${monitor?.log}`);
      });
    const isGone = async () => (await rig.domainOf(uuid)) === undefined;

    before(async () => {
      rig = await makeRig();
      await writeFile(path('usherd.yaml'), SETTINGS);
    });

    afterEach(async () => {
      if (monitor === undefined) return;
      await monitor.does('destroy');
      assert.equal(await monitor.quit(), 0);
      monitor = undefined;
      await checkNothingLeft(rig, uuid, booted?.file);
    });

    after(async () => {
      await monitor?.does('destroy').catch(() => undefined);
      await monitor?.kill();
      await rig?.close();
    });

    test('start, and a checkpoint: the guest goes on, and so does another from the file', async () => {
      const { does, status } = bound(await begin());
      assert.equal(await status(), 'shutdown');
      assert.equal(await isGone(), true);
      await does('start');
      assert.equal(await status(), 'running');
      await guest().waitReady();
      const boot = await guest().bootId();
      const before = { domain: await rig.domainOf(uuid), ticks: await guest().ticks() };
      const file = path('booted.save');
      assert.match((await does(`checkpoint file=${file}`))[0] ?? '', STOOD_STILL);
      assert.equal(await status(), 'running');
      assert.equal(await rig.domainOf(uuid), before.domain);
      assert.equal(await guest().bootId(), boot);
      assert.ok((await guest().ticks()) >= before.ticks, 'it has gone back');
      await does('destroy');
      assert.deepEqual([await status(), await isGone()], ['shutdown', true]);
      booted = { file, boot };
      await does(`restore file=${file} delete=false`);
      assert.equal(await status(), 'running');
      await guest().waitReady();
      await goesOn();
      assert.ok((await guest().ticks()) >= before.ticks, 'it has gone back');
      assert.ok(existsSync(file));
    });

    test('suspend and restore: nothing runs meanwhile, the guest goes on from the same memory, the file is gone', async () => {
      const { does, status, say } = bound(await goOn());
      const file = path('suspended.save');
      const ticks = await guest().ticks();
      assert.match((await does(`suspend file=${file}`))[0] ?? '', STOOD_STILL);
      assert.deepEqual([await status(), await isGone(), existsSync(file)], ['suspended', true, true]);
      assert.match((await say('pause')).join(), /^error vm\.state .* is suspended, expected running/);
      await does(`restore file=${file}`);
      assert.deepEqual([await status(), existsSync(file)], ['running', false]);
      await guest().waitReady();
      await goesOn();
      assert.ok((await guest().ticks()) >= ticks, 'it has gone back');
    });

    test('live suspend: the guest goes on; where it has to stand still, the answer says so', async () => {
      const { does, status } = bound(await goOn());
      const file = path('live.save');
      const [first = '', ...warnings] = await does(`suspend file=${file} live=true`);
      assert.match(first, STOOD_STILL);
      const isWarned = warnings.some((line) => /^warning: .*stood still/.test(line));
      assert.equal(isWarned, !rig.savesLive, warnings.join());
      assert.deepEqual([await status(), await isGone()], ['suspended', true]);
      await does(`restore file=${file}`);
      await guest().waitReady();
      await goesOn();
    });

    test('suspended, its monitor is ended or killed: another process restores it', async () => {
      const { does } = bound(await goOn());
      const file = path('handed-on.save');
      await does(`suspend file=${file}`);
      assert.equal(await monitor?.quit(), 0);
      const second = await begin();
      assert.deepEqual([await second.status(), await isGone()], ['suspended', true]);
      await second.kill();
      const third = await begin();
      assert.equal(await third.status(), 'suspended');
      await third.does('restore');
      assert.deepEqual([await third.status(), existsSync(file)], ['running', false]);
      await guest().waitReady();
      await goesOn();
    });

    test('its monitor is killed and the guest is not disturbed: another process goes on with it', async () => {
      await goOn();
      const domain = await rig.domainOf(uuid);
      await monitor?.kill();
      await goesOn();
      const second = await begin({ isAdopting: true });
      assert.deepEqual([await second.status(), await rig.domainOf(uuid)], ['running', domain]);
      await goesOn();
    });

    test('shutdown is asked of the guest, and is no halt that a policy answers', async () => {
      const { does, status } = bound(await goOn('on_halt = restart', 'on_crash = restart'));
      await does('shutdown');
      assert.deepEqual([await status(), await isGone()], ['shutdown', true]);
    });

    test('restart is asked of the guest, which boots anew', async () => {
      const { does, status } = bound(await goOn('on_halt = destroy', 'on_reboot = destroy'));
      const domain = await rig.domainOf(uuid);
      await does('restart');
      assert.equal(await status(), 'running');
      assert.notEqual(await rig.domainOf(uuid), domain);
      await guest().waitReady();
      assert.notEqual(await guest().bootId(), booted.boot);
    });

    for (const [does, key, end] of ENDS) {
      for (const policy of POLICIES) {
        test(`a guest that ${does}, with ${key} = ${policy}`, async () => {
          const others = ENDS.filter(([, other]) => other !== key);
          const opposite = policy === 'destroy' ? 'restart' : 'destroy';
          await goOn(`${key} = ${policy}`, ...others.map(([, other]) => `${other} = ${opposite}`));
          const domain = await rig.domainOf(uuid);
          assert.notEqual(domain, undefined);
          await end(guest());
          if (policy === 'destroy') await becomes('shutdown', isGone);
          else if (policy === 'preserve') {
            await becomes('shutdown');
            assert.equal(await rig.domainOf(uuid), domain, 'its remains are there to be looked at');
          } else {
            await becomes('running', async () => ![domain, undefined].includes(await rig.domainOf(uuid)));
            await guest().waitReady();
            assert.notEqual(await guest().bootId(), booted.boot);
          }
        });
      }
    }

    test('a guest that panics while no monitor is there: the next one does what the policy says', async () => {
      await goOn();
      const domain = await rig.domainOf(uuid);
      await monitor?.kill();
      await guest().panic();
      await begin({ more: ['on_crash = restart'], isAdopting: true });
      await becomes('running', async () => ![domain, undefined].includes(await rig.domainOf(uuid)));
    });

    test('a VM that dies again and again is given up after so many restarts, and can be started', async () => {
      const { does } = bound(await goOn('on_crash = restart'));
      for (let deaths = 0; deaths <= MAX_RESTARTS; deaths++) {
        const domain = await rig.domainOf(uuid);
        await guest().kill();
        if (deaths === MAX_RESTARTS) await becomes('shutdown', isGone);
        else await becomes('running', async () => ![domain, undefined].includes(await rig.domainOf(uuid)));
      }
      await does('start');
      await becomes('running');
    });
  });
}

/** Looks for what the VM or its monitor could have left: a domain, its folder, sockets, save files. */
async function checkNothingLeft(rig: LifeRig, uuid: VmUuid, kept: string | undefined): Promise<void> {
  assert.equal(await rig.domainOf(uuid), undefined, 'a domain is left');
  const { runtimeFolder, vmSocketFolder } = placesOf({ USHER_HOME: rig.home });
  const left = (await readdir(runtimeFolder, { recursive: true })).filter((name) => name.includes(uuid));
  // The lock is a file that stays and is held by nobody.
  const lock = join(vmSocketFolder, `${uuid}.lock`).slice(runtimeFolder.length + 1);
  assert.deepEqual(
    left.filter((name) => name !== lock),
    [],
    'sockets or notes are left',
  );
  const saves = (await readdir(rig.home, { recursive: true })).filter((name) => /save$|\.save\b/.test(name));
  assert.deepEqual(
    saves.map((name) => join(rig.home, name)),
    kept === undefined ? [] : [kept],
    'save files are left',
  );
}

/** The commands of a monitor as functions. */
function bound(monitor: MonitorProcess) {
  return {
    does: (line: string) => monitor.does(line),
    say: (line: string) => monitor.say(line),
    status: () => monitor.status(),
  };
}
