/**
 * Attaching and detaching by hand: a hold is put, the router does the rest, and the answer waits for it. When it cannot
 * be done, the hold is as it was before, unless somebody else has put another meanwhile.
 */
import type { StoredTrial } from '../../inventory/trial-table.ts';
import { Fault } from '../../lib/fault.ts';
import type { Hold } from '../../model/assignment.ts';
import { HOST_BACKEND } from '../../model/ids.ts';
import { deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { VmRecord } from '../../model/vm.ts';
import { objectionTo } from '../../usb/objections.ts';
import type { Verdict } from '../../usb/plan-types.ts';
import type { Call } from '../dispatch.ts';
import type { Engine } from '../engine.ts';
import { requiredBy } from './required.ts';

type Parts = Pick<Engine, 'fleet' | 'router' | 'inventory' | 'clock' | 'trials' | 'lookAtHost'>;

/** What is asked for besides the device and its VM. */
export interface AttachWish {
  readonly slot?: UsbSlot | undefined;
  /** What speaks against it is not to count, but for the host's last keyboard and pointing device. */
  readonly isForced?: boolean | undefined;
  /** Undo it again unless it is confirmed within that time. */
  readonly confirmSeconds?: number | undefined;
}

const TIMEOUT_MS = 40_000;

/**
 * Attaches a device to a VM and holds it there; a device that is in another VM is moved. Gives the trial, if it is one.
 * @throws Fault `usb.guarded`, `usb.kept_back`, `vm.state`, `usb.no_port`, `usb.no_controller`, `usb.attach_failed`, `usb.device_gone`, `timeout`
 */
export async function attachByHand(
  engine: Parts,
  found: UsbDevice,
  record: VmRecord,
  wish: AttachWish,
  call: Pick<Call, 'signal'>,
): Promise<StoredTrial | undefined> {
  const key = deviceKey(found);
  const device = await seenNow(engine, found, call.signal);
  const fault = whyNotByHand(engine, device, record, wish);
  if (fault !== undefined) throw fault;
  const { slot, isForced, confirmSeconds } = wish;
  const hold: Hold = {
    ...holdOf(engine, device),
    kind: 'in',
    vm: record.uuid,
    ...(slot === undefined ? {} : { slot }),
    ...(isForced === true ? { isForced } : {}),
  };
  const now = engine.inventory.holds().find((other) => deviceKey(other) === key);
  const { before, trial: overtaken } = engine.trials.beforeHold(now);
  const what = `${key} was attached to VM ${record.name} by hand`;
  const trial =
    confirmSeconds === undefined ? undefined : engine.trials.begin(what, { do: 'hold', hold, before }, confirmSeconds);
  try {
    await holding(engine, hold, call.signal, (verdict) => whyNotAttached(verdict, key, record));
  } catch (error) {
    if (trial !== undefined) engine.trials.withdraw(trial.id);
    throw error;
  }
  if (overtaken !== undefined) engine.trials.withdraw(overtaken.id);
  return trial;
}

/** Gives a device of the host with what speaks against taking it at this moment; any other as it is. */
export async function seenNow(
  { lookAtHost, router }: Pick<Parts, 'lookAtHost' | 'router'>,
  device: UsbDevice,
  signal: AbortSignal,
): Promise<UsbDevice> {
  if (device.backend !== HOST_BACKEND) return device;
  await lookAtHost(device);
  await router.lookAtDevices(signal);
  return router.devices.find((other) => deviceKey(other) === deviceKey(device)) ?? device;
}

/** Gives the fault of an attach by hand that is refused from the start; `undefined` when it may be tried. */
export function whyNotByHand(
  engine: Pick<Parts, 'fleet'>,
  device: UsbDevice,
  { uuid, name: vm }: VmRecord,
  { slot, isForced = false }: Pick<AttachWish, 'slot' | 'isForced'>,
): Fault | undefined {
  const key = deviceKey(device);
  if (device.guard !== undefined) return new Fault('usb.guarded', { device: key, what: device.guard });
  const isHere = engine.fleet.domainOf(uuid)?.attachments.some((one) => deviceKey(one) === key) === true;
  const objection = isHere ? undefined : objectionTo(device, { by: 'hand', isForced });
  if (objection !== undefined) {
    const isFinal = objectionTo(device, { by: 'hand', isForced: true }) !== undefined;
    const hint = isFinal
      ? 'Plug in another one first, or name one that counts in the settings: countsAsKeyboard, countsAsPointer'
      : `If you are sure: usher usb attach ${vm} ${key} --force --confirm 30s`;
    return new Fault('usb.kept_back', { device: key, vm, what: objection.says }, { hint });
  }
  const monitor = engine.fleet.find(uuid);
  if (monitor?.isOpen !== true) {
    const hint = `Start it first: usher vm start ${vm}. To have the device whenever it runs: usher usb assign ${vm} ${key} --auto`;
    const details = { verb: 'usb attach', vm, state: monitor?.state ?? 'halted', expected: 'running or paused' };
    return new Fault('vm.state', details, { hint });
  }
  const trouble = engine.fleet.domainOf(uuid)?.usbTrouble;
  if (trouble !== undefined) return new Fault('usb.attach_failed', { device: key, vm, what: trouble });
  return slot === undefined ? undefined : whyNotAt(engine, key, { uuid, name: vm }, slot);
}

/**
 * Sees to it that the device is in no other VM, and on its way to none. What is asked after it in the same turn of the
 * loop can rely on that. @throws Fault `usb.attached`
 */
export function demandFree({ fleet, router, inventory }: Parts, device: UsbDevice, { uuid }: VmRecord): void {
  const key = deviceKey(device);
  const outcome = router.verdictOf(key)?.outcome;
  const isThere = outcome?.is === 'attached' || outcome?.is === 'attaching' || outcome?.is === 'detaching';
  // A hold that was put a moment ago is in no verdict yet; one whose VM does not run keeps the device from nobody.
  const held = inventory.holds().find((hold) => deviceKey(hold) === key && hold.generation === device.generation)?.vm;
  const vm = isThere ? outcome.vm : held;
  if (vm === undefined || vm === uuid || (!isThere && fleet.find(vm)?.isOpen !== true)) return;
  throw new Fault('usb.attached', { device: key, vm: fleet.nameOf(vm) });
}

/** Detaches a device and keeps it out of every VM. @throws Fault `usb.required`, `usb.detach_failed`, `timeout` */
export async function detachByHand(engine: Parts, device: UsbDevice, call: Pick<Call, 'signal'>): Promise<void> {
  const required = requiredBy(engine, deviceKey(device));
  const owner = required === undefined ? undefined : engine.fleet.find(required.vm);
  if (required !== undefined && owner?.isOpen === true) {
    const subject = { device: deviceKey(device), vm: engine.fleet.nameOf(required.vm), assignment: required.id };
    throw new Fault('usb.required', subject, { hint: `Remove that first: usher usb unassign ${required.id}` });
  }
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
      // Two hands at once, on two keyboards: the later one is kept back only when the earlier has begun.
      if (verdict.decider.by === 'guard')
        return new Fault('usb.kept_back', { ...subject, what: verdict.decider.reason });
      return new Fault('usb.attach_failed', { ...subject, what: 'it was detached meanwhile' });
  }
}

/** Gives the fault of a port that was asked for by name and is not there, or has another device. */
function whyNotAt(
  { fleet }: Pick<Parts, 'fleet'>,
  key: string,
  { uuid, name }: Pick<VmRecord, 'uuid' | 'name'>,
  slot: UsbSlot,
): Fault | undefined {
  const { controllers = [], attachments = [] } = fleet.domainOf(uuid) ?? {};
  const port = formatSlot(slot);
  const controller = controllers.find(({ index }) => index === slot.controller);
  if (controller === undefined || slot.port < 1 || slot.port > controller.ports) {
    return new Fault('usb.port_not_found', { vm: name, port }, { hint: `Its controllers: usher vm show ${name}` });
  }
  const there = attachments.find((attachment) => formatSlot(attachment) === port);
  const other = there === undefined ? key : deviceKey(there);
  return other === key ? undefined : new Fault('usb.port_busy', { vm: name, port, other });
}

function holdOf(engine: Parts, { backend, busid, generation, deviceId }: UsbDevice): Omit<Hold, 'kind'> {
  return { backend, busid, generation, deviceId, by: 'hand', createdAt: engine.clock.now() };
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
