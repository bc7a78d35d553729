/**
 * Attaching and detaching by hand: a hold is put, the router does the rest, and the answer waits for it. When it cannot
 * be done, the hold is as it was before, unless somebody else has put another meanwhile.
 */
import { Fault } from '../../lib/fault.ts';
import type { Hold } from '../../model/assignment.ts';
import { deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { VmRecord } from '../../model/vm.ts';
import type { Verdict } from '../../usb/plan-types.ts';
import type { Call } from '../dispatch.ts';
import type { Engine } from '../engine.ts';

type Parts = Pick<Engine, 'fleet' | 'router' | 'inventory' | 'clock'>;

const TIMEOUT_MS = 40_000;

/**
 * Attaches a device to a VM and holds it there; a device that is in another VM is moved.
 * @throws Fault `usb.guarded`, `vm.state`, `usb.no_port`, `usb.no_controller`, `usb.attach_failed`, `usb.device_gone`, `timeout`
 */
export async function attachByHand(
  engine: Parts,
  device: UsbDevice,
  record: VmRecord,
  slot: UsbSlot | undefined,
  call: Pick<Call, 'signal'>,
): Promise<void> {
  const key = deviceKey(device);
  if (device.guard !== undefined) throw new Fault('usb.guarded', { device: key, what: device.guard });
  const monitor = engine.fleet.monitorOf(record);
  if (!monitor.isOpen) {
    const { name: vm } = record;
    const hint = `Start it first: usher vm start ${vm}. To have the device whenever it runs: usher usb assign ${vm} ${key} --auto`;
    throw new Fault(
      'vm.state',
      { verb: 'usb attach', vm, state: monitor.state, expected: 'running or paused' },
      { hint },
    );
  }
  const trouble = engine.fleet.domainOf(record.uuid)?.usbTrouble;
  if (trouble !== undefined) throw new Fault('usb.attach_failed', { device: key, vm: record.name, what: trouble });
  if (slot !== undefined) checkSlot(engine, key, record, slot);
  const hold = {
    ...holdOf(engine, device),
    kind: 'in' as const,
    vm: record.uuid,
    ...(slot === undefined ? {} : { slot }),
  };
  await holding(engine, hold, call.signal, (verdict) => whyNotAttached(verdict, key, record));
}

/** Detaches a device and keeps it out of every VM. @throws Fault `usb.detach_failed`, `timeout` */
export async function detachByHand(engine: Parts, device: UsbDevice, call: Pick<Call, 'signal'>): Promise<void> {
  await holding(engine, { ...holdOf(engine, device), kind: 'out' }, call.signal, (verdict) => {
    if (verdict === undefined || !('vm' in verdict.outcome)) return undefined;
    const { outcome } = verdict;
    const what = outcome.is === 'waiting' ? outcome.detail : (outcome.stuck ?? 'it is wanted there again');
    return new Fault('usb.detach_failed', { device: deviceKey(device), vm: engine.fleet.nameOf(outcome.vm), what });
  });
}

/** Gives the fault of a device that rests, and is not in the VM. */
function whyNotAttached(verdict: Verdict | undefined, device: string, { uuid, name }: VmRecord): Fault | undefined {
  if (verdict === undefined || verdict.isGone) return new Fault('usb.device_gone', { device });
  const { outcome } = verdict;
  const subject = { device, vm: name };
  switch (outcome.is) {
    case 'attached':
      if (outcome.vm === uuid) return undefined;
      return new Fault('usb.attach_failed', { ...subject, what: outcome.stuck ?? 'it is wanted in another VM' });
    case 'waiting':
      if (outcome.for === 'port') return new Fault('usb.no_port', subject);
      if (outcome.for === 'controller') return new Fault('usb.no_controller', { ...subject, what: outcome.detail });
      return new Fault('usb.attach_failed', { ...subject, what: outcome.detail });
    case 'attaching':
    case 'detaching':
      return new Fault('usb.attach_failed', { ...subject, what: outcome.stuck ?? `it is still ${outcome.is}` });
    case 'left':
      return new Fault('usb.attach_failed', { ...subject, what: 'it was detached meanwhile' });
  }
}

/** A port that was asked for by name is there and free, or has the device already. */
function checkSlot({ fleet }: Parts, key: string, { uuid, name }: VmRecord, slot: UsbSlot): void {
  const { controllers = [], attachments = [] } = fleet.domainOf(uuid) ?? {};
  const port = formatSlot(slot);
  const controller = controllers.find(({ index }) => index === slot.controller);
  if (controller === undefined || slot.port < 1 || slot.port > controller.ports) {
    throw new Fault('usb.port_not_found', { vm: name, port }, { hint: `Its controllers: usher vm show ${name}` });
  }
  const there = attachments.find((attachment) => formatSlot(attachment) === port);
  const other = there === undefined ? key : deviceKey(there);
  if (other !== key) throw new Fault('usb.port_busy', { vm: name, port, other });
}

function holdOf(engine: Parts, { backend, busid, generation }: UsbDevice): Omit<Hold, 'kind'> {
  return { backend, busid, generation, createdAt: engine.clock.now() };
}

/** Puts the hold and waits until the device rests; `complain` makes the fault of a rest that is not what was asked for. */
async function holding(
  engine: Parts,
  hold: Hold,
  signal: AbortSignal,
  complain: (verdict: Verdict | undefined) => Fault | undefined,
): Promise<void> {
  const { inventory, router } = engine;
  const key = deviceKey(hold);
  const current = () => inventory.holds().find((other) => deviceKey(other) === key);
  const before = current();
  inventory.putHold(hold);
  try {
    const fault = complain(await router.settleDevice(key, signal, TIMEOUT_MS, hold.vm));
    if (fault !== undefined) throw fault;
  } catch (error) {
    const now = current();
    const isOurs = now?.createdAt === hold.createdAt && now.kind === hold.kind && now.vm === hold.vm;
    if (isOurs && before === undefined) inventory.dropHold(hold);
    else if (isOurs && before !== undefined) inventory.putHold(before);
    router.hint('wishes');
    throw error;
  }
}
