/** Ways to break the planner, and what it rests on, that random worlds have to find. */
import type { Mutant } from './mutant.ts';

const WORLDS = { file: 'src/usb/worlds.property.test.ts', name: 'plan: whatever happens' };
const ROUTER = { file: 'src/usb/router.property.test.ts', name: 'Router: whatever happens' };

type Change = readonly [off: string, file: string, from: string, to: string];

const IN_WORLDS: readonly Change[] = [
  [
    'guarded devices',
    'src/usb/decide.ts',
    'if (device.guard !== undefined) {',
    'if (device.guard === "not this one") {',
  ],
  ['holds', 'src/usb/decide.ts', 'if (hold !== undefined) return ofHold', 'if (false) return ofHold'],
  [
    'a hold out',
    'src/usb/decide.ts',
    'if (hold !== undefined) return ofHold',
    "if (hold?.kind === 'in') return ofHold",
  ],
  [
    'holds end with their plug',
    'src/usb/plan.ts',
    'world.backends.has(backend) && world.devices.get(deviceKey({ backend, busid }))?.generation !== generation;',
    'world.backends.has(backend) && world.devices.get(deviceKey({ backend, busid })) === undefined && generation === "";',
  ],
  [
    'the newer of two holds',
    'src/usb/survey.ts',
    'if (hold.generation === devices.get(key)?.generation && isNewer) holds.set(key, hold);',
    'if (isNewer) holds.set(key, hold);',
  ],
  [
    'a hold goes with a device that changes its id',
    'src/usb/survey.ts',
    'if (switched !== undefined && isNewer) holds.set(key, switched);',
    'void switched;',
  ],
  [
    'a hold waits for another id',
    'src/usb/plan.ts',
    'if (device === undefined && until > world.now && maySwitch(hold, world.policy)) {',
    'if (device !== undefined && until > world.now && maySwitch(hold, world.policy)) {',
  ],
  [
    'a hold does not wait for ever',
    'src/usb/plan.ts',
    'if (device === undefined && until > world.now && maySwitch(hold, world.policy)) {',
    'if (device === undefined && maySwitch(hold, world.policy)) {',
  ],
  [
    'force stays behind',
    'src/usb/switched.ts',
    'const { deviceId: before, isForced: _, ...rest } = hold;',
    'const { deviceId: before, ...rest } = hold;',
  ],
  [
    'where a device was last seen',
    'src/usb/survey.ts',
    'uuid === last || claimed.has(uuid) || named.has(name)',
    'claimed.has(uuid) || named.has(name)',
  ],
  [
    'VMs that were not observed yet',
    'src/usb/plan.ts',
    'const elsewhere = world.unseenHolderOf(device);',
    'const elsewhere = undefined as ObservedVm | undefined;',
  ],
  [
    'an attach under way',
    'src/usb/plan.ts',
    "if (inFlight?.kind === 'attach') one.outcome = { is: 'attaching', ...underWay(inFlight, key, world) };\n  else if",
    'if',
  ],
  [
    'a detach under way',
    'src/usb/plan.ts',
    "else if (inFlight?.kind === 'detach') one.outcome = { is: 'detaching', ...underWay(inFlight, key, world) };\n",
    '\n',
  ],
  [
    'the more exact assignment',
    'src/usb/decide.ts',
    'order: b.match.rank - a.match.rank',
    'order: a.match.rank - b.match.rank',
  ],
  [
    'port before id',
    'src/model/assignment.ts',
    'const level = (placeExactness > 0 ? 2 : 0) + (idExactness > 0 ? 1 : 0);',
    'const level = (placeExactness > 0 ? 1 : 0) + (idExactness > 0 ? 2 : 0);',
  ],
  [
    'what is assigned by its location',
    'src/usb/decide.ts',
    'const keys = [deviceKey(device), ...locationKeys(locationOf(device)), ...idKeys(device.deviceId)];',
    'const keys = [deviceKey(device), ...idKeys(device.deviceId)];',
  ],
  [
    'the older of equal assignments',
    'src/usb/decide.ts',
    'order: a.assignment.id - b.assignment.id',
    'order: b.assignment.id - a.assignment.id',
  ],
  ['staying where it is', 'src/usb/decide.ts', 'order: isHere(b) - isHere(a)', 'order: isHere(a) - isHere(b)'],
  [
    'manual waits for a command',
    'src/usb/decide.ts',
    "return assignment.mode !== 'manual';",
    "return assignment.mode !== 'ask' || true;",
  ],
  [
    'the last keyboard, by force',
    'src/usb/objections.ts',
    'if (what === undefined) return false;',
    "if (what === undefined) return wanted.by === 'hand' && wanted.isForced;",
  ],
  [
    'the last keyboard, by any rule',
    'src/usb/objections.ts',
    'if (what === undefined) return false;',
    "if (what === undefined) return wanted.by === 'rule';",
  ],
  [
    'a mounted stick, by an assignment',
    'src/usb/objections.ts',
    "return (what === 'keyboard' || what === 'pointing' || what === 'input') && isExact(wanted.pattern);",
    'return isExact(wanted.pattern);',
  ],
  [
    'a keyboard, by a vague assignment',
    'src/usb/objections.ts',
    "(what === 'keyboard' || what === 'pointing' || what === 'input') && isExact(wanted.pattern);",
    "what === 'keyboard' || (what === 'pointing' && isExact(wanted.pattern));",
  ],
  ['force', 'src/usb/objections.ts', 'return wanted.isForced;', 'return true;'],
  [
    'all but the gravest objection',
    'src/usb/objections.ts',
    'return device.objections?.find(({ kind }) => !isWaived(kind, device, wanted));',
    'return device.objections?.slice(0, 1).find(({ kind }) => !isWaived(kind, device, wanted));',
  ],
  ['observing', 'src/usb/decide.ts', 'if (places.isObserving) return observed', 'if (false) return observed'],
  [
    'a policy that observes',
    'src/model/policy-judge.ts',
    "return mode === 'enforce' ? action : { do: 'nothing' };",
    "return mode === 'enforce' ? action : action;",
  ],
  [
    'the order of rules',
    'src/model/policy-judge.ts',
    'matches.push(new MatchingRule(one, subject));',
    'matches.unshift(new MatchingRule(one, subject));',
  ],
  [
    'at most so many by one rule',
    'src/model/policy-judge.ts',
    'countOf(ref.index, vm) < atMost;',
    'countOf(ref.index, vm) <= atMost;',
  ],
  [
    'rules go after assignments',
    'src/usb/decide.ts',
    'if (winner === undefined) return ofPolicy(places, losers);',
    'if (winner === undefined || places.here === undefined) return ofPolicy(places, losers);',
  ],
  [
    'questions end when nobody answers',
    'src/usb/plan.ts',
    'if (isOpen && leftMs > 0) return',
    'if (isOpen && leftMs > -Infinity) return',
  ],
  [
    'questions without interest',
    'src/usb/plan.ts',
    "const as = isOpen ? 'unanswered' : 'moot';",
    "const as = 'unanswered';",
  ],
  [
    'silence keeps it out',
    'src/usb/foresee.ts',
    "if (step.as === 'unanswered') holds = [...holds, silenceOn(step.question, input.wallNow)];",
    '',
  ],
  [
    'asking first',
    'src/usb/decide.ts',
    "if (mode !== 'ask' || vm === places.here)",
    "if (mode !== 'manual' || vm === places.here)",
  ],
  [
    'another plug of the same device',
    'src/usb/reasons.ts',
    "if (attachment.generation !== device.generation) return 'the device was plugged anew';\n",
    '\n',
  ],
  [
    'what was pulled leaves',
    'src/usb/plan.ts',
    'const stays = (attachment: Attachment) =>\n',
    'const stays = (attachment: Attachment) =>\n    device === undefined ||\n',
  ],
  [
    'closed VMs take nothing',
    'src/usb/survey.ts',
    'return vm?.domain !== undefined && vm.isOpen && vm.isReleasing !== true && vm.isUnknown !== true;',
    'return vm?.domain !== undefined && vm.isReleasing !== true && vm.isUnknown !== true;',
  ],
  [
    'released VMs take nothing',
    'src/usb/survey.ts',
    'return vm?.domain !== undefined && vm.isOpen && vm.isReleasing !== true && vm.isUnknown !== true;',
    'return vm?.domain !== undefined && vm.isOpen && vm.isUnknown !== true;',
  ],
  [
    'closed VMs give nothing back',
    'src/usb/survey.ts',
    'return vm?.domain !== undefined && (vm.isOpen || vm.isReleasing === true) && vm.isUnknown !== true;',
    'return vm?.domain !== undefined && vm.isUnknown !== true;',
  ],
  [
    'released VMs give everything back',
    'src/usb/plan.ts',
    'attachment.vm === decision?.target &&\n    world.vms.get(attachment.vm)?.isReleasing !== true;',
    'attachment.vm === decision?.target;',
  ],
  [
    'backends that cannot be read',
    'src/usb/survey.ts',
    'if (!observed.backends.has(device.backend) || devices.has(key)) continue;',
    'if (devices.has(key)) continue;',
  ],
  [
    'ports of steps under way',
    'src/usb/ports.ts',
    "if (inFlight?.kind === 'attach') this.#of(inFlight.vm).add(formatSlot(inFlight.slot));\n",
    '\n',
  ],
  [
    'ports that this plan has given',
    'src/usb/ports.ts',
    'if (isTaken(slot)) continue;\n        taken.add(formatSlot(slot));',
    'if (isTaken(slot)) continue;',
  ],
  [
    'ports that are taken',
    'src/usb/ports.ts',
    'for (const attachment of vm.domain?.attachments ?? []) taken.add(formatSlot(attachment));\n',
    '\n',
  ],
  [
    'what others attached stays',
    'src/usb/decide.ts',
    'if (winner === undefined && places.foreign !== undefined) {',
    'if (false) {',
  ],
  [
    'detach before attach',
    'src/usb/plan.ts',
    'else if (attachments.length > 0) draftAttached(one, world);',
    'else if (attachments.length > 0 && attachments[0]?.vm === decision?.target) draftAttached(one, world);',
  ],
  [
    'one more controller, once',
    'src/usb/plan.ts',
    'if (inFlight === undefined && !added.has(vm)) added.set',
    'if (!added.has(vm)) added.set',
  ],
  [
    'what failed is tried again by itself',
    'src/usb/plan.ts',
    'const retryAt = retryOf(one.key, device.generation, target, world);',
    'const retryAt = world.memory.has(one.key) ? Number.POSITIVE_INFINITY : undefined;',
  ],
];

const IN_ROUTER: readonly Change[] = [
  [
    'steps are under way until observed',
    'src/usb/attacher.ts',
    'if (vmOf(step) === undefined) this.#settle(stepKey(step), entry);',
    'this.#settle(stepKey(step), entry);',
  ],
  [
    'an observation from before the end',
    'src/usb/attacher.ts',
    'if (entry.endedAs !== undefined && entry.endedAs <= ends)',
    'if (entry.endedAs !== undefined)',
  ],
];

const of =
  (test: Mutant['test']) =>
  ([off, file, from, to]: Change): Mutant => ({ breaks: 'planner', off, file, from, to, test, runs: true });

/** The first two take a crash at one certain moment, which is too rare in random worlds; the planner never gives the step of the third. */
const BESIDES: readonly Mutant[] = [
  {
    breaks: 'planner',
    off: 'where a device is about to go',
    file: 'src/usb/last-places.ts',
    from: 'for (const step of steps) attach(step);\n',
    to: '',
    test: { file: 'src/usb/last-places.test.ts', name: 'what is attached, or about to be, is stored' },
  },
  {
    breaks: 'planner',
    off: 'what may be in a VM that nobody has seen',
    file: 'src/usb/last-places.ts',
    from: 'if (unseen.has(place.vm) && !taken.has(key)) taken.set(key, place);',
    to: 'if (taken.has(key)) taken.set(key, place);',
    test: { file: 'src/usb/last-places.test.ts', name: 'stays stored until that VM has been observed' },
  },
  {
    breaks: 'planner',
    off: 'a step under way is not begun again',
    file: 'src/usb/attacher.ts',
    from: 'if (before?.inFlight !== undefined || this.#closing.signal.aborted) continue;',
    to: 'if (this.#closing.signal.aborted) continue;',
    test: { file: 'src/usb/attacher.test.ts', name: 'a device has one step at a time' },
  },
];

export const PLANNER: readonly Mutant[] = [...IN_WORLDS.map(of(WORLDS)), ...IN_ROUTER.map(of(ROUTER)), ...BESIDES];
