/**
 * The closed list of operations: the public interface of Usher. Each once: class, parameters, result, and one sentence
 * that says what it does and when it is legal. The RPC dispatcher, the audit, the authorisation, the CLI's help and the
 * reference page come from it. What an operation does is in `app/operations/`.
 */
import * as v from 'valibot';
import { ASSIGNMENT_MODES } from '../model/assignment.ts';
import { SOFTWARE_KINDS } from '../model/usb.ts';
import { TRIGGERS } from '../model/vm.ts';
import type {
  AdoptView,
  AssignmentView,
  AuditVerification,
  AuditView,
  ConfigView,
  ConsoleView,
  DeviceView,
  DoctorReport,
  ExplainView,
  FollowView,
  Hello,
  HoldView,
  LogView,
  PolicyDiffView,
  PolicyExplainView,
  PolicyLoadView,
  PolicyView,
  PowerResult,
  PreviewView,
  QuestionView,
  SaveResult,
  TraceView,
  TrialView,
  VmDetails,
  VmView,
  VncView,
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
const confirmSeconds = v.pipe(v.number(), v.minValue(1), v.maxValue(3600));
const optional = v.exactOptional;
/** A disk as the guest names it. */
const target = v.pipe(v.string(), v.regex(/^(hd|sd|xvd)[a-z]$/, 'a disk such as hdc is expected'));
/** More than a check needs: see `thinAnchors`. */
export const MAX_ANCHORS = 10_000;
const anchors = v.pipe(
  v.array(
    v.strictObject({
      row: v.pipe(v.number(), v.integer(), v.minValue(1)),
      hash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      home: text(4096),
    }),
  ),
  v.maxLength(MAX_ANCHORS),
);

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
  preview: {
    class: 'read',
    params: v.strictObject({ operation: text(64), params: v.record(text(64), v.unknown()) }),
    doc: 'Says what another operation would do, and does nothing; it is refused as that would be. Legal for what changes VMs or where devices are.',
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
  'vm.config': {
    class: 'read',
    params: v.strictObject({ vm, key: optional(text(64)) }),
    doc: 'Tells the config that a VM is started with next: its file as it is now, with what was changed by "configure".',
  },
  'vm.configure': {
    class: 'write',
    params: v.strictObject({ vm, key: text(64), value: text(8192), isAdded: optional(v.boolean()) }),
    doc: 'Changes a setting of the config that a VM is started with next, in the words of its file, which stays as it is; added: as one more line.',
  },
  'vm.reread': {
    class: 'write',
    params: v.strictObject({ vm, path: optional(path) }),
    doc: 'Reads the config file of a VM again, or another that is its file from now on, and forgets what was changed by "configure".',
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
    params: v.strictObject({ vm, file: optional(path), isLive: optional(v.boolean()) }),
    doc: 'Saves a VM to a file and stops it, live: while it runs on; its devices are detached before. Legal when it runs or is paused.',
  },
  'vm.restore': {
    class: 'control',
    params: v.strictObject({
      vm,
      file: optional(path),
      isPaused: optional(v.boolean()),
      isKept: optional(v.boolean()),
      disks: optional(v.picklist(['ignore'])),
    }),
    doc: 'Brings a VM back from its save file, which is removed when the guest runs again, unless kept; disks go back to the snapshots of that moment, and one that has changed without a snapshot is a refusal, unless ignored. Legal when suspended or halted.',
  },
  'vm.checkpoint': {
    class: 'control',
    params: v.strictObject({
      vm,
      file: path,
      isLive: optional(v.boolean()),
      disks: optional(v.picklist(['ignore'])),
    }),
    doc: 'Saves a VM to a file and lets it go on, with a snapshot of each writable disk; where that cannot be it is refused, unless disks are ignored. The guest runs while its memory is copied where the driver can do so without any risk, or when told to (isLive). Legal when it runs or is paused.',
  },
  'vm.insert': {
    class: 'control',
    params: v.strictObject({ vm, target, file: path }),
    doc: 'Puts a medium into a CD drive of a VM, in the place of the one that is there; legal when it runs or is paused. The config stays as it is.',
  },
  'vm.eject': {
    class: 'control',
    params: v.strictObject({ vm, target }),
    doc: 'Takes the medium out of a CD drive of a VM; legal when it runs or is paused. The config stays as it is.',
  },
  'vm.memory': {
    class: 'control',
    params: v.strictObject({ vm, memoryMiB: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(16_777_216)) }),
    doc: 'Has the guest of a VM give memory back, or take it again, until it has so much; legal when it runs, up to the memory that it was started with.',
  },
  'vm.trigger': {
    class: 'control',
    params: v.strictObject({ vm, trigger: v.picklist(TRIGGERS) }),
    doc: 'Presses the power or sleep button of a VM, wakes it up, or gives it a non-maskable interrupt; legal when it runs.',
  },
  'vm.vnc': {
    class: 'read',
    params: v.strictObject({ vm }),
    doc: 'Tells where the VNC display of a VM is, if it has one; legal when it runs or is paused.',
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
    params: v.strictObject({ isAll: optional(v.boolean()), withAbsent: optional(v.boolean()) }),
    doc: 'Lists the devices that are plugged, where they are attached, and those that were unplugged and still have a port in a VM; all: guarded ones too; with absent: also what is assigned by one port or product and not plugged.',
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
    params: v.strictObject({
      device,
      vm,
      port: optional(v.pipe(v.string(), v.regex(/^\d{1,2}-\d{1,2}$/))),
      canMove: optional(v.boolean()),
      isForced: optional(v.boolean()),
      confirmSeconds: optional(confirmSeconds),
    }),
    doc: 'Attaches a device to a VM by hand and keeps it there until it is unplugged or released; moves it if need be, unless it may not. Forced: also when the host uses it. With a time it is given back unless that is confirmed.',
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
    params: v.strictObject({
      vm,
      device: pattern,
      mode: optional(v.picklist(ASSIGNMENT_MODES)),
      confirmSeconds: optional(confirmSeconds),
    }),
    doc: 'Stores the wish that matching devices belong to a VM, by port or location, device id or both; the more exact wins. With a time it is removed again unless that is confirmed.',
  },
  'usb.unassign': {
    class: 'write',
    params: v.strictObject({ assignment: v.pipe(v.number(), v.integer()) }),
    doc: 'Removes an assignment by its number; a device that only it kept in a VM is detached.',
  },
  'usb.pending': { class: 'read', params: v.strictObject({}), doc: 'Lists the devices that a person is asked about.' },
  'usb.answer': {
    class: 'control',
    params: v.strictObject({ device, vm: optional(vm), isRemembered: optional(v.boolean()) }),
    doc: 'Answers the question about a device: the VM that may have it, or none; remembered: it is asked no more. Legal while the question is open.',
  },
  'usb.assignments': { class: 'read', params: v.strictObject({}), doc: 'Lists the assignments.' },
  'usb.holds': { class: 'read', params: v.strictObject({}), doc: 'Lists the holds.' },
  'usb.explain': {
    class: 'read',
    params: v.strictObject({ device }),
    doc: 'Says why a device is (not) where it is: who decided, what lost, how far to trust it, what would change it.',
  },
  'usb.trace': {
    class: 'read',
    params: v.strictObject({ device, since: optional(v.number()), isFollowing: optional(v.boolean()) }),
    doc: 'Tells what was seen of a device and done about it, with times: plugs, requests, steps, failures. Following, it sends what comes, too, until the client hangs up.',
  },
  'usb.reconcile': {
    class: 'control',
    params: v.strictObject({}),
    doc: 'Observes everything again and brings devices where they belong; returns when nothing is left to do.',
  },
  'policy.show': {
    class: 'read',
    params: v.strictObject({}),
    doc: 'Tells the policy that holds, as a file, and why it is not the file if so.',
  },
  'policy.load': {
    class: 'control',
    params: v.strictObject({ confirmSeconds: optional(confirmSeconds) }),
    doc: 'Takes the policy file as it is now; one with an error changes nothing. With a time, the former policy comes back unless that is confirmed.',
  },
  'policy.diff': {
    class: 'read',
    params: v.strictObject({ content: text(262_144) }),
    doc: 'Tells what another policy would say of the devices that are plugged.',
  },
  'policy.explain': {
    class: 'read',
    params: v.strictObject({ device }),
    doc: 'Tells of every rule why it does, or does not, decide about a device.',
  },
  'trial.list': {
    class: 'read',
    params: v.strictObject({}),
    doc: 'Lists the changes that are undone unless confirmed.',
  },
  'trial.confirm': {
    class: 'control',
    params: v.strictObject({ trial: optional(v.pipe(v.number(), v.integer())) }),
    doc: 'Keeps a change that is on trial, or all; legal while one is.',
  },
  'events.follow': {
    class: 'read',
    params: v.strictObject({
      since: optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
      isOnce: optional(v.boolean()),
      vm: optional(vm),
    }),
    doc: 'Sends the events after a number, of all or of one VM; then, unless once is enough, all that come, until the client hangs up.',
  },
  'audit.list': {
    class: 'read',
    params: v.strictObject({
      vm: optional(vm),
      device: optional(device),
      since: optional(v.number()),
      after: optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
      limit: optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10_000))),
    }),
    doc: 'Lists rows of the audit trail, oldest first: the newest of all, or those that come after a number.',
  },
  'audit.verify': {
    class: 'read',
    params: v.strictObject({ head: optional(text(64)), anchors: optional(anchors) }),
    doc: 'Checks the hash chain of the audit trail; a cut tail is seen only against a former head: its hash, or anchors out of the system log.',
  },
} as const satisfies Record<string, OperationRow>;

export type OperationName = keyof typeof OPERATIONS;
export type Params<O extends OperationName> = v.InferOutput<(typeof OPERATIONS)[O]['params']>;

/** What each operation answers. */
export interface Results {
  hello: Hello;
  doctor: DoctorReport;
  preview: PreviewView;
  'vm.create': VmView;
  'vm.adopt': AdoptView;
  'vm.list': VmView[];
  'vm.show': VmDetails;
  'vm.set': VmView;
  'vm.config': ConfigView;
  'vm.configure': ConfigView;
  'vm.reread': ConfigView;
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
  'vm.insert': PowerResult;
  'vm.eject': PowerResult;
  'vm.memory': PowerResult;
  'vm.trigger': PowerResult;
  'vm.vnc': VncView;
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
  'usb.pending': QuestionView[];
  'usb.answer': DeviceView;
  'usb.assignments': AssignmentView[];
  'usb.holds': HoldView[];
  'usb.explain': ExplainView;
  'usb.trace': TraceView;
  'usb.reconcile': DeviceView[];
  'policy.show': PolicyView;
  'policy.load': PolicyLoadView;
  'policy.diff': PolicyDiffView;
  'policy.explain': PolicyExplainView;
  'trial.list': TrialView[];
  'trial.confirm': TrialView[];
  'events.follow': FollowView;
  'audit.list': AuditView[];
  'audit.verify': AuditVerification;
}
