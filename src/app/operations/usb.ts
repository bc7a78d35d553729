/** The operations `usb.*`. */
import type { OperationName } from '../../api/operations.ts';
import type { DeviceView } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import { parseDevicePattern } from '../../model/assignment.ts';
import { VIRTUAL_BACKEND } from '../../model/ids.ts';
import { udevName } from '../../model/udev-name.ts';
import { deviceKey, parseDeviceRef, parseSlot } from '../../model/usb.ts';
import { explain, summarize } from '../../usb/explain.ts';
import { listAbsent } from '../absent-devices.ts';
import { deviceFinder, deviceNotFound, REST_MS } from '../device-finder.ts';
import type { Handlers } from '../dispatch.ts';
import type { Engine } from '../engine.ts';
import { answer } from '../flows/answers.ts';
import { attachByHand, demandFree, detachByHand } from '../flows/by-hand.ts';
import { judgeNow, ruleView, trialView } from '../policy-views.ts';
import { inStranger, strangerWith } from '../strangers.ts';
import { followDevice, traceDevice } from '../trace.ts';
import { assignmentView, deviceView, explainView, holdView, questionView } from '../views.ts';

type UsbHandlers = Pick<Handlers, Extract<OperationName, `usb.${string}`>>;

/** Gives the handlers of `usb.*`. */
export function usbHandlers(engine: Engine): UsbHandlers {
  const { inventory, router, fleet, virtualPorts, events, names, policy, trials } = engine;
  const { seen, lookFor, find, controllersOf } = deviceFinder(engine);
  /** Gives the device's row, explained as of now. */
  const view = (key: string): DeviceView => {
    const verdict = router.verdictOf(key);
    if (verdict === undefined) throw deviceNotFound(key);
    const why = summarize(verdict, (uuid) => fleet.nameOf(uuid));
    return deviceView(engine, verdict, seen(key), why);
  };
  /** Waits until the device rests, as far as it does so soon, and gives its row. */
  const rested = async (key: string, signal: AbortSignal): Promise<DeviceView> => {
    await router.settleDevice(key, signal, REST_MS).catch(() => undefined);
    return view(key);
  };
  /** Waits until a VM has let go of a device that was unplugged: it is on its way, or says why it is not. */
  const letGo = async (key: string, signal: AbortSignal): Promise<DeviceView> => {
    const before = view(key);
    const verdict = await router.settleDevice(key, signal, REST_MS);
    if (verdict === undefined || !('vm' in verdict.outcome)) {
      return { ...before, state: 'unplugged', why: 'it was unplugged, and the VM has let it go' };
    }
    const { vm, ...outcome } = verdict.outcome;
    const what = ('stuck' in outcome ? outcome.stuck : undefined) ?? 'the VM gives nothing back now';
    throw new Fault('usb.detach_failed', { device: key, vm: fleet.nameOf(vm), what });
  };
  /** Gives the row of a device that is not plugged, is in no VM, and is expected at that port. */
  const absentAt = async (key: string, signal: AbortSignal): Promise<DeviceView | undefined> => {
    await lookFor(parseDeviceRef(key), signal);
    if (router.verdictOf(key) !== undefined) return undefined;
    const row = listAbsent(engine).find(({ device }) => device === key);
    if (row === undefined) return undefined;
    return { ...row, why: `it is in no VM; ${row.why}. To expect it no more: usher usb unassign ${row.assignment}` };
  };
  const listed = (isAll: boolean): DeviceView[] => {
    const rows = router.verdicts.map((verdict) => view(verdict.device));
    return isAll ? rows : rows.filter((row) => row.state !== 'guarded');
  };

  return {
    async 'usb.list'({ isAll = false, withAbsent = false }) {
      return withAbsent ? [...listed(isAll), ...listAbsent(engine)] : listed(isAll);
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
      const said = { description: names.describe(device), udevName: udevName(device) };
      return { device: deviceKey(device), deviceId, ...said, speed, state, why };
    },
    async 'usb.attach'({ device: ref, vm, port, canMove = true, isForced, confirmSeconds }, call) {
      const device = await find(ref, call.signal);
      const record = inventory.findVm(vm);
      if (!canMove) demandFree(engine, device, record);
      const slot = port === undefined ? undefined : parseSlot(port);
      const trial = await attachByHand(engine, device, record, { slot, isForced, confirmSeconds }, call);
      return { ...view(deviceKey(device)), ...(trial === undefined ? {} : { trial: trialView(trial) }) };
    },
    async 'usb.detach'({ device: ref }, call) {
      const key = deviceKey(parseDeviceRef(ref));
      if (seen(key) === undefined && router.verdictOf(key)?.isGone === true) return await letGo(key, call.signal);
      const absent = seen(key) === undefined ? await absentAt(key, call.signal) : undefined;
      if (absent !== undefined) return absent;
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
    async 'usb.assign'({ vm, device, mode = 'manual', confirmSeconds }, { signal }) {
      const record = inventory.findVm(vm);
      const assignment = inventory.addAssignment({ vm: record.uuid, pattern: parseDevicePattern(device), mode });
      const what = `assignment ${assignment.id} was made`;
      const undo = { do: 'assignment', id: assignment.id } as const;
      let trial: ReturnType<typeof trials.begin> | undefined;
      try {
        if (confirmSeconds !== undefined) trial = trials.begin(what, undo, confirmSeconds);
      } catch (error) {
        inventory.removeAssignment(assignment.id); // What was to be on trial is not to stay for good.
        throw error;
      }
      events.publish('usb.changed', { what });
      router.hint('wishes');
      const made = assignmentView(engine, assignment);
      for (const key of made.matches) await router.settleDevice(key, signal, REST_MS).catch(() => undefined);
      return { ...made, ...(trial === undefined ? {} : { trial: trialView(trial) }) };
    },
    async 'usb.unassign'({ assignment: id }) {
      const assignment = inventory.assignments().find((other) => other.id === id);
      if (assignment === undefined) {
        throw new Fault('assignment.not_found', { assignment: id }, { hint: 'See: usher usb assignments' });
      }
      const gone = assignmentView(engine, assignment);
      inventory.removeAssignment(id);
      trials.endOfAssignment(id);
      events.publish('usb.changed', { what: `assignment ${id} was removed` });
      router.hint('wishes');
      return gone;
    },
    async 'usb.pending'() {
      return inventory.questions().map((question) => questionView(engine, question, seen(deviceKey(question))));
    },
    async 'usb.answer'({ device: ref, vm, isRemembered }, { actor, signal }) {
      const device = await find(ref, signal);
      const into = vm === undefined ? undefined : inventory.findVm(vm);
      answer(engine, device, { into, isRemembered, who: actor.user ?? String(actor.uid) });
      return await rested(deviceKey(device), signal);
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
      if (explanation === undefined) throw deviceNotFound(key);
      const owner = explanation.verdict.outcome.is === 'attached' ? undefined : await strangerWith(engine, key);
      const device = seen(key);
      const rules =
        device === undefined || policy.policy.rules.length === 0 ? [] : judgeNow(engine, policy.policy).review(device);
      const told = owner === undefined ? explanation : inStranger(explanation, owner);
      const locationOf = (twin: string) => seen(twin)?.location;
      return explainView(view(key), told, (uuid) => fleet.nameOf(uuid), rules.map(ruleView), locationOf);
    },
    async 'usb.trace'({ device, since, isFollowing = false }, { notify, signal }) {
      const key = deviceKey(parseDeviceRef(device));
      const view = traceDevice(engine, key, since);
      if (isFollowing) {
        const stop = followDevice(engine, key, (entry) => notify('event', { entry }));
        signal.addEventListener('abort', stop, { once: true });
      }
      return view;
    },
    async 'usb.reconcile'(_params, { signal }) {
      await router.reconcile(signal);
      return listed(false);
    },
  };
}
