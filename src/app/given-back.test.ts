import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ManualClock } from '../lib/clock.ts';
import { silentLog } from '../lib/log.ts';
import type { EventBody } from '../model/event.ts';
import * as hosts from '../usb/testing/hosts.ts';
import { GivenBack } from './given-back.ts';

const PRINTER = { backend: 'dom0', busid: '1-1' };
const tree = hosts.pc();
tree.usb('1-1', { interfaces: [['070102', 'usblp']], product: 'Printer' });
after(() => tree.remove());

/** Has a printer attached and detached; `isWanted`: it is on its way to another VM. */
async function given(isWanted: boolean, ms: number): Promise<EventBody['usb.given_back'][]> {
  const told: EventBody['usb.given_back'][] = [];
  const clock = new ManualClock();
  const back = new GivenBack({
    clock,
    log: silentLog,
    publish: (kind, body) => {
      if (kind === 'usb.given_back') told.push(body as EventBody['usb.given_back']);
    },
    roots: tree.roots,
    isWanted: () => isWanted,
  });
  await back.before(PRINTER);
  back.after(PRINTER);
  for (let passed = 0; passed < ms && told.length === 0; passed += 100) {
    await clock.advance(100);
    for (let i = 0; i < 50; i++) await turn();
  }
  await back.close();
  return told;
}

test('a device that has its driver again works', async () => {
  assert.deepEqual(await given(false, 30_000), [{ device: 'dom0:1-1', problems: [] }]);
});

test('what goes on to another VM is not looked at', async () => {
  assert.deepEqual(await given(true, 3_000), []);
});

test('what does not work again is told', async () => {
  const told: EventBody['usb.given_back'][] = [];
  const clock = new ManualClock();
  const publish = (_kind: string, body: unknown) => void told.push(body as EventBody['usb.given_back']);
  const back = new GivenBack({ clock, log: silentLog, publish, roots: tree.roots, isWanted: () => false });
  await back.before(PRINTER);
  tree.drive('1-1:1.0', undefined);
  back.after(PRINTER);
  for (let passed = 0; passed < 60_000 && told.length === 0; passed += 500) {
    await clock.advance(500);
    for (let i = 0; i < 50; i++) await turn();
  }
  await back.close();
  assert.equal(told.length, 1);
  assert.match(told[0]?.problems.join(' ') ?? '', /usblp/);
});
