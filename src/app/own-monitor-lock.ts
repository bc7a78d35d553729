/**
 * Whose a VM is: the daemon's, which has it in its inventory, or that of a process of its own, which holds the VM's lock.
 *
 * INVARIANTS: who wants a VM for himself locks it first and then looks into the inventory; who takes one into the inventory
 * looks at the lock afterwards, and takes it out again. So of two at the same moment one is refused at least.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Places, vmLockPath } from '../config/places.ts';
import { Inventory } from '../inventory/inventory.ts';
import { Fault } from '../lib/fault.ts';
import { type FileLock, lockFile } from '../lib/native.ts';
import type { VmUuid } from '../model/ids.ts';

const HINT = 'It is a xenvm: speak to it by xenvm-cmd, or end it by "xenvm-cmd UUID quit".';

/** @throws Fault `vm.held` when a process of its own has the VM */
export function demandUnheld(places: Places, uuid: VmUuid): void {
  const path = vmLockPath(places, uuid);
  if (!existsSync(path)) return;
  take(path, uuid).release();
}

/** Takes a VM for this process. @throws Fault `vm.held`, `vm.exists` when the inventory has it, `vm.domain_exists` */
export function holdVm(places: Places, uuid: VmUuid): FileLock {
  const lock = take(vmLockPath(places, uuid), uuid);
  try {
    demandNotInInventory(places, uuid);
    // The daemon's own folder: a domain that left the inventory without its end.
    const isLeft = ['qemu', 'xen'].some((driver) => existsSync(join(places.runtimeFolder, driver, uuid)));
    if (isLeft) throw new Fault('vm.domain_exists', { uuid });
  } catch (error) {
    lock.release();
    throw error;
  }
  return lock;
}

function take(path: string, uuid: VmUuid): FileLock {
  const lock = lockFile(path);
  if ('heldBy' in lock) throw new Fault('vm.held', { uuid, pid: lock.heldBy }, { hint: HINT });
  return lock;
}

function demandNotInInventory({ databaseFile }: Places, uuid: VmUuid): void {
  if (!existsSync(databaseFile)) return;
  const inventory = new Inventory(databaseFile, { defaultDriver: 'qemu' });
  try {
    const record = inventory.listVms().find((vm) => vm.uuid === uuid);
    if (record === undefined) return;
    const hint = `usherd has it as ${record.name}: usher vm start ${record.name}. To have it alone: usher vm remove ${record.name}`;
    throw new Fault('vm.exists', { key: 'uuid', value: uuid }, { hint });
  } finally {
    inventory.close();
  }
}
