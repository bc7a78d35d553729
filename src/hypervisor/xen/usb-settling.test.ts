import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../lib/clock.ts';
import type { Grip, Plug } from './host-devices.ts';
import { UsbSettling } from './usb-settling.ts';

const SLOT = { controller: 0, port: 1 } as const;
const BUSID = '1-4';

function rig() {
  const clock = new ManualClock();
  const device: { grip: Grip; isPlugged: boolean } = { grip: 'nobody', isPlugged: true };
  const settling = new UsbSettling({
    clock,
    hosts: {
      plugAt: (busid) => (device.isPlugged ? ({ busid } as Plug) : undefined),
      gripsOn: (busid) => new Map([[`${busid}:1.0`, device.grip]]),
    },
  });
  const waited = async (act: () => Promise<void> = async () => undefined) => {
    const begun = clock.monotonic();
    let ended: number | undefined;
    const over = settling.over(5, SLOT, BUSID).then(() => {
      ended = clock.monotonic() - begun;
    });
    await act();
    while (ended === undefined) await clock.advance(50);
    await over;
    return ended;
  };
  return { clock, device, settling, waited };
}

test('a device that nobody is known to have attached just now is not waited for', async () => {
  const { settling, clock, waited } = rig();
  assert.equal(await waited(), 0);
  settling.begin(5, { controller: 0, port: 2 });
  settling.begin(6, SLOT);
  assert.equal(await waited(), 0);
  settling.begin(5, SLOT);
  await clock.advance(10_000);
  assert.equal(await waited(), 0);
  settling.begin(5, SLOT);
  settling.forget(5);
  assert.equal(await waited(), 0);
});

test('a new one is waited for until the guest has configured it, and a moment more, once', async () => {
  const { settling, clock, device, waited } = rig();
  settling.begin(5, SLOT);
  const ms = await waited(async () => {
    await clock.advance(1_000);
    device.grip = 'program';
  });
  assert.ok(ms >= 1_500 && ms <= 1_700, `${ms} ms`);
  assert.equal(await waited(), 0);
});

test('a guest that never configures it is not waited for long; one that is unplugged not at all', async () => {
  const { settling, device, waited } = rig();
  settling.begin(5, SLOT);
  const ms = await waited();
  assert.ok(ms >= 4_000 && ms <= 4_200, `${ms} ms`);
  settling.begin(5, SLOT);
  device.isPlugged = false;
  assert.equal(await waited(), 0);
});
