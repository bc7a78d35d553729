/** Makes the shapes that operations answer with, out of records, sights and verdicts. Escapes what devices say. */
import type {
  AssignmentView,
  DeviceView,
  ExplainView,
  HoldView,
  QuestionView,
  VmDetails,
  VmView,
} from '../api/views.ts';
import { printable } from '../lib/text.ts';
import { type Assignment, formatDevicePattern, type Hold, matchDevice, type Question } from '../model/assignment.ts';
import { udevName } from '../model/udev-name.ts';
import { deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../model/usb.ts';
import { type VmConfig, type VmRecord, virtModeOf } from '../model/vm.ts';
import { isLiving, stateOf } from '../monitor/states.ts';
import type { Explanation } from '../usb/explain.ts';
import type { Verdict } from '../usb/plan-types.ts';
import type { Engine } from './engine.ts';
import type { Stranger } from './strangers.ts';

/** Gives a VM's row. */
export function vmView({ inventory, fleet }: Engine, record: VmRecord): VmView {
  const { uuid, name, driver, autostart } = record;
  const { memoryMiB, vcpus } = inventory.configs.summaryOf(uuid);
  const domain = fleet.domainOf(uuid);
  return {
    name,
    uuid,
    state: fleet.find(uuid)?.state ?? 'halted',
    driver,
    memoryMiB,
    vcpus,
    autostart,
    ...(domain === undefined ? {} : { handle: domain.handle }),
    devices: (domain?.attachments ?? []).map(deviceKey),
  };
}

/** Gives the row of a domain that belongs to no VM. Others named it. */
export function strangerView({ driver, domain }: Stranger): VmView {
  const { uuid, name, handle, attachments, death } = domain;
  const state = isLiving(domain) ? stateOf(domain) : death?.reason === 'crash' ? 'crashed' : 'halted';
  return {
    ...{ name: printable(name, 70), uuid, state, driver, memoryMiB: 0, vcpus: 0, autostart: false, handle },
    devices: attachments.map(deviceKey),
    isStranger: true,
  };
}

/** Gives all that is known of a VM. */
export async function vmDetails(engine: Engine, record: VmRecord): Promise<VmDetails> {
  const { fleet, inventory, sockets } = engine;
  const { uuid, path, suspendFile } = record;
  const domain = fleet.domainOf(uuid);
  const console = (await fleet.driverOf(uuid)).consoleOf(uuid);
  const config: VmConfig = inventory.configs.stored(uuid);
  return {
    ...vmView(engine, record),
    ...(path === undefined ? {} : { path }),
    ...(config.driver === 'xen' ? { virtMode: virtModeOf(config) } : {}),
    ...(config.kernel === undefined ? {} : { kernel: config.kernel }),
    onCrash: config.onCrash,
    onHalt: config.onHalt,
    onReboot: config.onReboot,
    socket: sockets.pathOf(uuid),
    console,
    ...(suspendFile === undefined ? {} : { suspendFile }),
    ...(domain?.stubdomDomid === undefined ? {} : { stubdomDomid: domain.stubdomDomid }),
    ...(domain?.usbTrouble === undefined ? {} : { usbTrouble: domain.usbTrouble }),
    controllers: (domain?.controllers ?? []).map(({ index, version, ports }) => ({ index, version, ports })),
    attachments: (domain?.attachments ?? []).map((attachment) => ({
      slot: formatSlot(attachment),
      device: deviceKey(attachment),
      deviceId: attachment.deviceId,
    })),
    warnings: fleet.warningsOf(uuid),
  };
}

/** Gives a device's row, from its verdict and, if it is plugged, itself. */
export function deviceView(
  { fleet, names }: Pick<Engine, 'fleet' | 'names'>,
  verdict: Verdict,
  device: UsbDevice | undefined,
  why: string,
): DeviceView {
  const { outcome } = verdict;
  const slot = slotOf(fleet, verdict);
  const isGuarded = verdict.decider.by === 'guard' && verdict.decider.against === undefined && outcome.is === 'left';
  return {
    device: verdict.device,
    deviceId: verdict.deviceId,
    description: device === undefined ? '' : names.describe(device),
    udevName: device === undefined ? '' : udevName(device),
    speed: device?.speed ?? '',
    ...(device?.location === undefined ? {} : { location: printable(device.location, 140) }),
    state: verdict.isGone ? 'gone' : isGuarded ? 'guarded' : outcome.is,
    ...('vm' in outcome ? { vm: fleet.nameOf(outcome.vm) } : {}),
    ...(slot === undefined ? {} : { slot: formatSlot(slot) }),
    why,
  };
}

/** Gives the port that a device has in its VM, also while it is to leave it. */
function slotOf(fleet: Engine['fleet'], { device, outcome }: Verdict): UsbSlot | undefined {
  if (outcome.is === 'attached') return outcome.slot;
  if (outcome.is !== 'detaching') return undefined;
  return fleet.domainOf(outcome.vm)?.attachments.find((one) => deviceKey(one) === device);
}

/** Gives the whole answer to "why". */
export function explainView(
  view: DeviceView,
  explanation: Explanation,
  nameOf: Engine['fleet']['nameOf'],
  rules: ExplainView['rules'],
  locationOf: (device: string) => string | undefined,
): ExplainView {
  const { device, deviceId, description, location, state, vm, slot } = view;
  return {
    device,
    deviceId,
    description,
    ...(location === undefined ? {} : { location }),
    state,
    ...(vm === undefined ? {} : { vm }),
    ...(slot === undefined ? {} : { slot }),
    because: explanation.because,
    losers: explanation.losers.map(({ assignment, because }) => ({
      assignment: assignment.id,
      vm: nameOf(assignment.vm),
      because,
    })),
    twins: explanation.twins.map((twin) => {
      const place = locationOf(twin);
      return { device: twin, ...(place === undefined ? {} : { location: printable(place, 140) }) };
    }),
    rules,
    changes: explanation.changes.map(({ says, command, gives }) => ({
      says,
      ...(command === undefined ? {} : { command }),
      gives: gives.vm === undefined ? gives.is : `${gives.is} ${nameOf(gives.vm)}`,
    })),
  };
}

export function assignmentView(
  { fleet, router }: Pick<Engine, 'fleet' | 'router'>,
  assignment: Assignment,
): AssignmentView {
  const { id, vm, pattern, mode } = assignment;
  const matching = router.devices.filter((device) => matchDevice(pattern, device) !== undefined);
  return { id, vm: fleet.nameOf(vm), device: formatDevicePattern(pattern), mode, matches: matching.map(deviceKey) };
}

export function questionView(
  { fleet, names }: Pick<Engine, 'fleet' | 'names'>,
  question: Question,
  device: UsbDevice | undefined,
): QuestionView {
  return {
    device: deviceKey(question),
    deviceId: device?.deviceId ?? '',
    description: device === undefined ? '' : names.describe(device),
    vms: question.vms.map((vm) => fleet.nameOf(vm)),
    since: new Date(question.askedAt).toISOString(),
    until: new Date(question.expiresAt).toISOString(),
  };
}

export function holdView({ fleet }: Pick<Engine, 'fleet'>, hold: Hold): HoldView {
  const since = new Date(hold.createdAt).toISOString();
  return {
    device: deviceKey(hold),
    kind: hold.kind,
    ...(hold.vm === undefined ? {} : { vm: fleet.nameOf(hold.vm) }),
    by: hold.by,
    since,
  };
}
