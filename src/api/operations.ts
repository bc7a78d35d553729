/**
 * The closed list of operations: the public interface of Usher. Each once: class, parameters, result, and one sentence
 * that says what it does and when it is legal. The RPC dispatcher, the audit, the authorisation, the CLI's help and the
 * reference page come from it. What an operation does is in `app/operations/`.
 */
import * as v from 'valibot';
import { ASSIGNMENT_MODES } from '../model/assignment.ts';
import { SOFTWARE_KINDS } from '../model/usb.ts';
import type {
  AdoptView,
  AssignmentView,
  AuditVerification,
  AuditView,
  ConsoleView,
  DeviceView,
  DoctorReport,
  ExplainView,
  FollowView,
  Hello,
  HoldView,
  LogView,
  PowerResult,
  SaveResult,
  VmDetails,
  VmView,
} from './views.ts';

/** Reads change nothing; writes change what is stored; control changes what runs. All but reads are audited. */
export type OperationClass = 'read' | 'write' | 'control';

interface OperationRow {
  readonly class: OperationClass;
  readonly params: v.GenericSchema;
  /** A parameter that names the VM or the device it is about: for the audit. */
  readonly doc: string;
}

const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const path = v.pipe(
  v.string(),
  v.maxLength(4096),
  v.check((value) => value.startsWith('/') && !value.includes('\0'), 'an absolute path is expected'),
);
/** A VM by name or uuid. */
const vm = text(64);
const device = text(96);
const pattern = text(1600);
const seconds = v.pipe(v.number(), v.minValue(0), v.maxValue(86_400));
const optional = v.exactOptional;

export const OPERATIONS = {
  hello: {
    class: 'read',
    params: v.strictObject({ client: text(64), protocol: v.pipe(v.number(), v.integer()) }),
    doc: 'Tells the versions of the daemon and of its protocol; a client that is too old or too new gets a fault.',
  },
  doctor: {
    class: 'read',
    params: v.strictObject({}),
    doc: 'Tells what of the host is there, what is missing, and what to do about it.',
  },
  'vm.create': {
    class: 'write',
    params: v.strictObject({
      path: optional(path),
      content: optional(text(1_048_576)),
      name: optional(text(64)),
      autostart: optional(v.boolean()),
    }),
    doc: 'Takes a VM into the inventory from a config file, or from its content; starts nothing.',
  },
  'vm.adopt': {
    class: 'write',
    params: v.strictObject({ domain: text(128), name: optional(text(64)), file: optional(path) }),
    doc: 'Takes a stranger into the inventory, by name or uuid, as it runs: a domain that others made and that lives. Its config is written from what the hypervisor tells.',
  },
  'vm.list': {
    class: 'read',
    params: v.strictObject({ isAll: optional(v.boolean()) }),
    doc: 'Lists all VMs with their power state; all: domains that belong to no VM, too, as strangers.',
  },
  'vm.show': {
    class: 'read',
    params: v.strictObject({ vm }),
    doc: 'Tells everything of one VM: config, domain, controllers, attached devices.',
  },
  'vm.set': {
    class: 'write',
    params: v.strictObject({ vm, autostart: v.boolean() }),
    doc: 'Marks a VM to be started with the host, or not.',
  },
  'vm.remove': {
    class: 'write',
    params: v.strictObject({ vm }),
    doc: 'Takes a halted VM out of the inventory, with its assignments and its save in the saves folder; no other file is touched.',
  },
  'vm.start': {
    class: 'control',
    params: v.strictObject({ vm, isPaused: optional(v.boolean()) }),
    doc: 'Starts a VM from its config file as it is now; legal when it is halted, crashed or suspended.',
  },
  'vm.pause': {
    class: 'control',
    params: v.strictObject({ vm }),
    doc: 'Stops the virtual CPUs of a VM; legal when it runs.',
  },
  'vm.unpause': {
    class: 'control',
    params: v.strictObject({ vm }),
    doc: 'Lets the virtual CPUs of a VM run again; legal when it is paused.',
  },
  'vm.shutdown': {
    class: 'control',
    params: v.strictObject({ vm, timeoutSeconds: optional(seconds) }),
    doc: 'Asks the guest to power off and waits until it has; legal when it runs.',
  },
  'vm.restart': {
    class: 'control',
    params: v.strictObject({ vm, isForced: optional(v.boolean()), timeoutSeconds: optional(seconds) }),
    doc: 'Shuts a VM down (or ends it, when forced) and starts it from its config file; legal when it runs or crashed.',
  },
  'vm.reset': {
    class: 'control',
    params: v.strictObject({ vm }),
    doc: 'Resets a VM as the reset button does; legal when it runs or is paused.',
  },
  'vm.destroy': {
    class: 'control',
    params: v.strictObject({ vm }),
    doc: 'Ends a VM at once, in any state; of a suspended one the saved state is given up (its file stays).',
  },
  'vm.suspend': {
    class: 'control',
    params: v.strictObject({ vm, file: optional(path) }),
    doc: 'Saves a VM to a file and stops it; its devices are detached before. Legal when it runs or is paused.',
  },
  'vm.restore': {
    class: 'control',
    params: v.strictObject({
      vm,
      file: optional(path),
      isPaused: optional(v.boolean()),
      isKept: optional(v.boolean()),
    }),
    doc: 'Brings a VM back from its save file, which is removed afterwards unless kept; legal when suspended or halted.',
  },
  'vm.checkpoint': {
    class: 'control',
    params: v.strictObject({ vm, file: path }),
    doc: 'Saves a VM to a file and lets it go on; legal when it runs or is paused.',
  },
  'vm.console': {
    class: 'control',
    params: v.strictObject({ vm }),
    doc: 'Tells where the serial console of a VM is: a unix socket that carries it both ways.',
  },
  'vm.log': {
    class: 'read',
    params: v.strictObject({
      vm,
      lines: optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100_000))),
    }),
    doc: 'Gives the last lines of what the guest wrote to its serial console.',
  },
  'usb.list': {
    class: 'read',
    params: v.strictObject({ isAll: optional(v.boolean()) }),
    doc: 'Lists the devices that are plugged, where they are attached, and those gone but expected; all: guarded ones too.',
  },
  'usb.plug': {
    class: 'control',
    params: v.strictObject({
      at: device,
      kind: v.picklist(SOFTWARE_KINDS),
      file: optional(path),
      serial: optional(text(126)),
      isReadOnly: optional(v.boolean()),
    }),
    doc: 'Plugs a software device in at a place of the backend virtual; legal when that place is free.',
  },
  'usb.unplug': {
    class: 'control',
    params: v.strictObject({ device }),
    doc: 'Unplugs a software device; it leaves the VM that it is attached to.',
  },
  'usb.attach': {
    class: 'control',
    params: v.strictObject({ device, vm, port: optional(v.pipe(v.string(), v.regex(/^\d{1,2}-\d{1,2}$/))) }),
    doc: 'Attaches a device to a VM by hand and keeps it there until it is unplugged or released; moves it if need be.',
  },
  'usb.detach': {
    class: 'control',
    params: v.strictObject({ device }),
    doc: 'Detaches a device by hand and keeps it out of every VM until it is unplugged or released.',
  },
  'usb.release': {
    class: 'control',
    params: v.strictObject({ device }),
    doc: 'Ends the hold on a device, so that assignments decide again.',
  },
  'usb.assign': {
    class: 'write',
    params: v.strictObject({ vm, device: pattern, mode: optional(v.picklist(ASSIGNMENT_MODES)) }),
    doc: 'Stores the wish that matching devices belong to a VM, by port, device id or both; the more exact wins.',
  },
  'usb.unassign': {
    class: 'write',
    params: v.strictObject({ assignment: v.pipe(v.number(), v.integer()) }),
    doc: 'Removes an assignment by its number; a device that only it kept in a VM is detached.',
  },
  'usb.assignments': { class: 'read', params: v.strictObject({}), doc: 'Lists the assignments.' },
  'usb.holds': { class: 'read', params: v.strictObject({}), doc: 'Lists the holds.' },
  'usb.explain': {
    class: 'read',
    params: v.strictObject({ device }),
    doc: 'Says why a device is (not) where it is: who decided, what lost, how far to trust it, what would change it.',
  },
  'usb.reconcile': {
    class: 'control',
    params: v.strictObject({}),
    doc: 'Observes everything again and brings devices where they belong; returns when nothing is left to do.',
  },
  'events.follow': {
    class: 'read',
    params: v.strictObject({
      since: optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
      isOnce: optional(v.boolean()),
    }),
    doc: 'Sends the events after a number, then, unless once is enough, all that come, until the client hangs up.',
  },
  'audit.list': {
    class: 'read',
    params: v.strictObject({
      vm: optional(vm),
      device: optional(device),
      since: optional(v.number()),
      limit: optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10_000))),
    }),
    doc: 'Lists rows of the audit trail, oldest first.',
  },
  'audit.verify': {
    class: 'read',
    params: v.strictObject({ head: optional(text(64)) }),
    doc: 'Checks the hash chain of the audit trail; a cut tail is seen only against the hash of a former head.',
  },
} as const satisfies Record<string, OperationRow>;

export type OperationName = keyof typeof OPERATIONS;
export type Params<O extends OperationName> = v.InferOutput<(typeof OPERATIONS)[O]['params']>;

/** What each operation answers. */
export interface Results {
  hello: Hello;
  doctor: DoctorReport;
  'vm.create': VmView;
  'vm.adopt': AdoptView;
  'vm.list': VmView[];
  'vm.show': VmDetails;
  'vm.set': VmView;
  'vm.remove': VmView;
  'vm.start': PowerResult;
  'vm.pause': PowerResult;
  'vm.unpause': PowerResult;
  'vm.shutdown': PowerResult;
  'vm.restart': PowerResult;
  'vm.reset': PowerResult;
  'vm.destroy': PowerResult;
  'vm.suspend': SaveResult;
  'vm.restore': PowerResult;
  'vm.checkpoint': SaveResult;
  'vm.console': ConsoleView;
  'vm.log': LogView;
  'usb.list': DeviceView[];
  'usb.plug': DeviceView;
  'usb.unplug': DeviceView;
  'usb.attach': DeviceView;
  'usb.detach': DeviceView;
  'usb.release': DeviceView;
  'usb.assign': AssignmentView;
  'usb.unassign': AssignmentView;
  'usb.assignments': AssignmentView[];
  'usb.holds': HoldView[];
  'usb.explain': ExplainView;
  'usb.reconcile': DeviceView[];
  'events.follow': FollowView;
  'audit.list': AuditView[];
  'audit.verify': AuditVerification;
}
