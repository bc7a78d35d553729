/** The operations `usb.*`. */
import type { OperationName } from '../../api/operations.ts';
import type { DeviceView } from '../../api/views.ts';
import type { Controller } from '../../hypervisor/driver.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { parseDevicePattern } from '../../model/assignment.ts';
import { VIRTUAL_BACKEND, type VmUuid } from '../../model/ids.ts';
import { deviceKey, parseDeviceRef, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import { explain, summarize } from '../../usb/explain.ts';
import { plannedControllers } from '../../usb/planned.ts';
import type { Handlers } from '../dispatch.ts';
import type { Engine } from '../engine.ts';
import { attachByHand, detachByHand } from '../flows/by-hand.ts';
import { assignmentView, deviceView, explainView, holdView } from '../views.ts';

type UsbHandlers = Pick<Handlers, Extract<OperationName, `usb.${string}`>>;

/** How long an answer waits for a device to come to rest, when it comes by itself. */
const REST_MS = 10_000;

/** Gives the handlers of `usb.*`. */
export function usbHandlers(engine: Engine): UsbHandlers {
  const { inventory, router, fleet, virtualPorts, events, names } = engine;

  const notFound = (device: string) => new Fault('usb.device_not_found', { device }, { hint: 'See: usher usb list' });
  const seen = (key: string) => router.devices.find((other) => deviceKey(other) === key);
  /** Sees to it that what was plugged before this request is known, though nobody has looked since. */
  const lookFor = async (place: Pick<UsbDevice, 'backend' | 'busid'>, signal: AbortSignal): Promise<void> => {
    const key = deviceKey(place);
    if (seen(key) !== undefined || router.verdictOf(key) !== undefined) return;
    if (place.backend === VIRTUAL_BACKEND) await virtualPorts.settled(place.busid);
    await router.settleDevice(key, signal, REST_MS).catch(() => undefined);
  };
  const find = async (ref: string, signal: AbortSignal): Promise<UsbDevice> => {
    const place = parseDeviceRef(ref);
    await lookFor(place, signal);
    const device = seen(deviceKey(place));
    if (device === undefined) throw notFound(deviceKey(place));
    return device;
  };
  /** Gives the device's row, explained as of now. */
  const view = (key: string): DeviceView => {
    const verdict = router.verdictOf(key);
    if (verdict === undefined) throw notFound(key);
    const why = summarize(verdict, (uuid) => fleet.nameOf(uuid));
    return deviceView(engine, verdict, seen(key), why);
  };
  /** The controllers that a VM would have, by the last good content of its file; none when there is none. */
  const controllersOf = (vm: VmUuid): Controller[] => {
    try {
      return plannedControllers(inventory.storedConfig(vm));
    } catch (error) {
      if (!isFault(error)) throw error;
      return [];
    }
  };
  /** Waits until the device rests, as far as it does so soon, and gives its row. */
  const rested = async (key: string, signal: AbortSignal): Promise<DeviceView> => {
    await router.settleDevice(key, signal, REST_MS).catch(() => undefined);
    return view(key);
  };
  const listed = (isAll: boolean): DeviceView[] => {
    const rows = router.verdicts.map((verdict) => view(verdict.device));
    return isAll ? rows : rows.filter((row) => row.state !== 'guarded');
  };

  return {
    async 'usb.list'({ isAll = false }) {
      return listed(isAll);
    },
    async 'usb.plug'({ at, kind, file, serial, isReadOnly }, { signal }) {
      const { backend, busid } = parseDeviceRef(at);
      if (backend !== VIRTUAL_BACKEND) {
        const what = 'software devices are plugged into the backend "virtual", such as virtual:1-2';
        throw new Fault('usb.device_invalid', { device: at, what });
      }
      const given = Object.entries({ file, serial, isReadOnly }).filter(([, value]) => value !== undefined);
      await virtualPorts.plug({ busid, software: { kind, ...Object.fromEntries(given) } });
      return await rested(at, signal);
    },
    async 'usb.unplug'({ device: ref }, { signal }) {
      const { backend, busid } = parseDeviceRef(ref);
      if (backend !== VIRTUAL_BACKEND) {
        const what = 'only software devices are unplugged by a command';
        throw new Fault(
          'usb.device_invalid',
          { device: ref, what },
          { hint: `To take it out of its VM: usher usb detach ${ref}` },
        );
      }
      await virtualPorts.settled(busid);
      const device = virtualPorts.unplug(busid);
      const { deviceId, speed } = device;
      await router.settleDevice(deviceKey(device), signal, REST_MS).catch(() => undefined);
      const [state, why] = ['unplugged', 'it was unplugged by a command'];
      return { device: deviceKey(device), deviceId, description: names.describe(device), speed, state, why };
    },
    async 'usb.attach'({ device: ref, vm, port }, call) {
      const device = await find(ref, call.signal);
      await attachByHand(engine, device, inventory.findVm(vm), port === undefined ? undefined : slotOf(port), call);
      return view(deviceKey(device));
    },
    async 'usb.detach'({ device: ref }, call) {
      const device = await find(ref, call.signal);
      await detachByHand(engine, device, call);
      return view(deviceKey(device));
    },
    async 'usb.release'({ device: ref }, { signal }) {
      const key = deviceKey(parseDeviceRef(ref));
      inventory.dropHold(inventory.findHold(parseDeviceRef(ref)));
      router.hint('wishes');
      return await rested(key, signal);
    },
    async 'usb.assign'({ vm, device, mode = 'manual' }, { signal }) {
      if (mode === 'ask' || mode === 'required') throw new Fault('assignment.unsupported', { mode });
      const record = inventory.findVm(vm);
      const assignment = inventory.addAssignment({ vm: record.uuid, pattern: parseDevicePattern(device), mode });
      events.publish('usb.changed', { what: `assignment ${assignment.id} was made` });
      router.hint('wishes');
      const made = assignmentView(engine, assignment);
      for (const key of made.matches) await router.settleDevice(key, signal, REST_MS).catch(() => undefined);
      return made;
    },
    async 'usb.unassign'({ assignment: id }) {
      const assignment = inventory.assignments().find((other) => other.id === id);
      if (assignment === undefined) {
        throw new Fault('assignment.not_found', { assignment: id }, { hint: 'See: usher usb assignments' });
      }
      const gone = assignmentView(engine, assignment);
      inventory.removeAssignment(id);
      events.publish('usb.changed', { what: `assignment ${id} was removed` });
      router.hint('wishes');
      return gone;
    },
    async 'usb.assignments'() {
      return inventory.assignments().map((assignment) => assignmentView(engine, assignment));
    },
    async 'usb.holds'() {
      return inventory.holds().map((hold) => holdView(engine, hold));
    },
    async 'usb.explain'({ device: ref }, { signal }) {
      const place = parseDeviceRef(ref);
      const key = deviceKey(place);
      await lookFor(place, signal);
      const explanation = explain(router.planInput(), key, controllersOf);
      if (explanation === undefined) throw notFound(key);
      return explainView(view(key), explanation, (uuid) => fleet.nameOf(uuid));
    },
    async 'usb.reconcile'(_params, { signal }) {
      await router.reconcile(signal);
      return listed(false);
    },
  };
}

function slotOf(port: string): UsbSlot {
  const [controller = 0, number = 0] = port.split('-').map(Number);
  return { controller, port: number };
}
