import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setWorldStage } from '../../test/support/world-stage.ts';
import type { Domain, Driver } from '../hypervisor/driver.ts';
import { populate, populationUuid } from '../hypervisor/simulator/population.ts';
import { Fault } from '../lib/fault.ts';
import { Sightings } from './sightings.ts';

const VMS = 100;

test('a question goes out singly, a crowd is one list, and a crowd among many more is single looks', async () => {
  const stage = await setWorldStage();
  try {
    populate(stage.world, { vms: VMS, devices: 0 });
    const asked: string[] = [];
    const driver: Pick<Driver, 'find' | 'list'> = {
      find: (uuid, waiting) => {
        asked.push('find');
        return stage.driver.find(uuid, waiting);
      },
      list: (waiting) => {
        asked.push('list');
        return stage.driver.list(waiting);
      },
    };
    const sightings = new Sightings();
    const observe = async (count: number) => {
      asked.length = 0;
      const uuids = Array.from({ length: count }, (_, i) => populationUuid(i));
      const domains = await Promise.all(uuids.map((uuid) => sightings.observe(driver, uuid)));
      assert.deepEqual(
        domains.map((domain) => domain?.uuid),
        uuids.map((uuid, i) => (i < VMS ? uuid : undefined)),
      );
      return asked.join(' ');
    };
    assert.equal(await observe(1), 'find');
    assert.equal(await observe(10), 'list', 'while it is not known how many there are');
    assert.equal(await observe(10), Array(10).fill('find').join(' '));
    assert.equal(await observe(30), 'list');
    assert.equal(await observe(VMS + 1), 'list', 'who has no domain is told so');
  } finally {
    await stage.clear();
  }
});

test('a domain of which a list tells only part is looked at by itself: what is not told may be there', async () => {
  const domains = Array.from({ length: 10 }, (_, i): Domain => {
    const usb = { controllers: [], attachments: [], ...(i === 3 ? { isPartial: true } : {}) };
    return { uuid: populationUuid(i), name: `vm-${i}`, handle: i, run: 'running', ...usb };
  });
  const silent = new Fault('hypervisor.lost', { vm: 'vm-3', what: 'its device model does not answer' });
  const sightings = new Sightings();
  const driver = { list: () => Promise.resolve(domains), find: () => Promise.reject(silent) };
  const sights = await Promise.allSettled(domains.map(({ uuid }) => sightings.observe(driver, uuid)));
  for (const [i, sight] of sights.entries()) {
    assert.deepEqual(
      sight,
      i === 3 ? { status: 'rejected', reason: silent } : { status: 'fulfilled', value: domains[i] },
    );
  }
});
