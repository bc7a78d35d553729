/** The planner's words: what it is given, the steps and the verdicts that it gives back. Types only; see plan.ts. */
import type { Domain } from '../hypervisor/driver.ts';
import type { Assignment, DevicePattern, Hold, Match, Question } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import type { Policy, RuleRef } from '../model/policy.ts';
import type { PolicyVerdict } from '../model/policy-judge.ts';
import type { NamesOf } from '../model/policy-match.ts';
import type { Attachment, UsbDevice, UsbSlot } from '../model/usb.ts';
import type { PowerState } from '../model/vm.ts';

/** A VM as the planner sees it. */
export interface ObservedVm {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly power: PowerState;
  /** Absent when there is none, or when it is dead. */
  readonly domain?: Pick<Domain, 'controllers' | 'attachments' | 'canAddController' | 'usbTrouble'>;
  /** Whether devices may move in and out now: not while the VM is being saved, restored or stopped. */
  readonly isOpen: boolean;
  /** Everything is to leave it, and nothing to enter: before it is suspended or shut down. */
  readonly isReleasing?: boolean;
  /** It could not be observed yet: a device that belongs there may be there, and so is attached nowhere else. */
  readonly isUnknown?: boolean;
  /** It cannot be observed now; this is its last sight. Whoever sets it closes the VM, too. */
  readonly isOutOfSight?: boolean;
}

/** What is the case. Backends whose source cannot be read are missing from `backends`: their devices are left alone. */
export interface Observed {
  readonly backends: ReadonlySet<string>;
  readonly devices: readonly UsbDevice[];
  readonly vms: readonly ObservedVm[];
}

/** What people wish. */
export interface Desired {
  readonly assignments: readonly Assignment[];
  readonly holds: readonly Hold[];
  /** Those that are open. */
  readonly questions: readonly Question[];
  readonly policy: Policy;
  /** Assignments and rules move nothing, and it is told what they would: for one who has locked himself out. */
  readonly isObserving?: boolean;
}

/** What the attacher remembers of a device between passes. */
export interface DeviceMemory {
  readonly state: AttacherState;
  /** The step under way: its device and its port are taken until it has ended and its result has been observed. */
  readonly inFlight?: Step;
  /** Failures in a row, and when the next try is due (monotonic ms). */
  readonly failures: number;
  readonly retryAt?: number;
  readonly lastError?: string;
  /** The plug and the VM that the failures are about: they say nothing of another. */
  readonly generation: string;
  readonly vm?: VmUuid;
}
export const ATTACHER_STATES = ['queued', 'settling', 'attaching', 'attached', 'detaching', 'failed'] as const;
export type AttacherState = (typeof ATTACHER_STATES)[number];

/** Where a plug of a device was last seen in a VM: it gets that port back when it returns to it. */
export interface LastPlace extends UsbSlot {
  readonly vm: VmUuid;
  readonly generation: string;
}

/** By step key, see plan.ts: the device's for what moves it, the VM's for its next controller. */
export type Memory = ReadonlyMap<string, DeviceMemory>;

export interface PlanInput {
  readonly observed: Observed;
  readonly desired: Desired;
  readonly memory: Memory;
  /** Names as people see them; absent: what devices say of themselves. */
  readonly namesOf?: NamesOf;
  /** By device. */
  readonly lastPlaces?: ReadonlyMap<string, LastPlace>;
  /** Since when nothing is plugged where a hold's device was, by hold key (monotonic ms); absent: since now. */
  readonly goneSince?: ReadonlyMap<string, number>;
  /** Monotonic milliseconds, the clock of `retryAt`. */
  readonly now: number;
  /** Milliseconds since 1970, the clock of questions and of rules that hold at certain times. */
  readonly wallNow: number;
}

/** What each kind of step needs. An executor table typed by this has one executor each, or does not compile. */
export interface StepArgs {
  attach: {
    readonly vm: VmUuid;
    readonly slot: UsbSlot;
    readonly device: UsbDevice;
    readonly why: string;
    readonly decider?: Decider | undefined;
  };
  detach: {
    readonly vm: VmUuid;
    readonly attachment: Attachment;
    readonly why: string;
    /** Who decided about the device; not when it leaves for another reason: it was pulled, or the VM gives all back. */
    readonly decider?: Decider | undefined;
  };
  /** For devices that find no port in the VM; they are planned again when it is there. */
  addController: { readonly vm: VmUuid; readonly why: string };
  /** A hold whose device was unplugged: it has served. */
  dropHold: { readonly hold: Hold; readonly why: string };
  /** A hold whose device came back under another id of the same list is about that from now on: `as`. */
  carryHold: { readonly hold: Hold; readonly as: Hold; readonly why: string };
  /** People are asked whether the device may go to one of the VMs. */
  ask: { readonly device: UsbDevice; readonly vms: readonly VmUuid[]; readonly why: string };
  /** A question that nobody answered in time (the device is kept out from then on), or that is no longer of interest. */
  endQuestion: { readonly question: Question; readonly as: 'unanswered' | 'moot'; readonly why: string };
}
export type StepKind = keyof StepArgs;
export type Step = { [K in StepKind]: { readonly kind: K } & StepArgs[K] }[StepKind];
export type StepOf<K extends StepKind> = Extract<Step, { kind: K }>;
export type StepExecutors = { readonly [K in StepKind]: (step: StepOf<K>, signal: AbortSignal) => Promise<void> };

/** Who decided: a person's hand, a stored assignment, a rule, a guard, others who attached it where it is, or nothing at all. */
export type Decider =
  | { readonly by: 'hold'; readonly hold: Hold }
  | { readonly by: 'assignment'; readonly assignment: Assignment; readonly match: Match }
  | { readonly by: 'rule'; readonly rule: RuleRef; readonly said: PolicyVerdict }
  /** `against`: who would have it, were it not for that. Without it the device is never given to a VM. */
  | { readonly by: 'guard'; readonly reason: string; readonly against?: Decider }
  | { readonly by: 'others'; readonly vm: VmUuid }
  /** It stays in the VM, for Usher only observes. */
  | { readonly by: 'observing'; readonly vm: VmUuid }
  | { readonly by: 'nothing' };

/** What becomes of the device. */
export type Outcome =
  /** It is where it belongs; with `stuck`, it ought to leave and cannot. */
  | { readonly is: 'attached'; readonly vm: VmUuid; readonly slot: UsbSlot; readonly stuck?: string }
  /**
   * A step to bring it there is planned or under way; `stuck`: why it does not end. `needs`: the VM gets one more
   * controller first, and then it gets a port of that.
   */
  | { readonly is: 'attaching'; readonly vm: VmUuid; readonly stuck?: string; readonly needs?: 'controller' }
  /** It belongs to a VM that cannot have it now. */
  | { readonly is: 'waiting'; readonly vm: VmUuid; readonly for: WaitReason; readonly detail: string }
  /** People are asked whether it may go to one of these VMs; `until` (ms since 1970): then it is kept out. */
  | { readonly is: 'asking'; readonly vms: readonly VmUuid[]; readonly until?: number }
  /** A step to take it out of this VM is planned, under way or to be tried again; it may go on to another afterwards. */
  | { readonly is: 'detaching'; readonly vm: VmUuid; readonly stuck?: string }
  /** It stays with its backend. */
  | { readonly is: 'left' };
/**
 * For the VM to run and be open, its device model to be there again, a free port, a controller that fits, the next try,
 * or another VM to give it back.
 */
export type WaitReason = 'vm' | 'device model' | 'port' | 'controller' | 'retry' | 'release';

/** An assignment that matches but does not decide, and why not. */
export interface Loser {
  readonly assignment: Assignment;
  readonly match: Match;
  readonly because: string;
}

/** Something a person could do that would change the verdict; `apply` is the same in a form a program can do. */
export interface Change {
  readonly says: string;
  /** The command line that does it. */
  readonly command?: string;
  readonly apply:
    | { readonly do: 'assign'; readonly vm: VmUuid; readonly pattern: DevicePattern; readonly mode: 'auto' }
    | { readonly do: 'unassign'; readonly assignment: number }
    | { readonly do: 'release' }
    | { readonly do: 'attach'; readonly vm: VmUuid; readonly isForced?: boolean }
    | { readonly do: 'detach' }
    | { readonly do: 'start' | 'restart'; readonly vm: VmUuid };
  /** What the verdict would be: the outcome's word and the VM. */
  readonly gives: { readonly is: Outcome['is']; readonly vm?: VmUuid };
}

/** The whole answer to "why is it (not) there": the decider, what it beat, how far to trust it, what would change it. */
export interface Verdict {
  /** `backend:busid`. */
  readonly device: string;
  readonly deviceId: string;
  readonly decider: Decider;
  readonly outcome: Outcome;
  readonly losers: readonly Loser[];
  /** What the policy says, when it was asked: it decides, or is only observed. */
  readonly policy?: PolicyVerdict;
  /** Other present devices with the same device id: only their places tell them apart. */
  readonly twins: readonly string[];
  /** Set when the device is gone but still attached somewhere. */
  readonly isGone: boolean;
}

export interface Plan {
  readonly steps: readonly Step[];
  /** One for each present device and each attachment whose device is gone, sorted by device. */
  readonly verdicts: readonly Verdict[];
  /** When the next retry is due (monotonic ms), if any. */
  readonly wakeAt?: number;
}
