/**
 * The fault table: everything that can go wrong with USB, policy and the trail, and for each driver how it is held: it is
 * played, another test holds it, or it cannot occur and it is said why. Data only; table.simulator.test.ts plays it, and
 * test/house/faults.test.ts sees that what is named is there. What is fed in from outside is in input-table.ts.
 */
import { MOMENTS, type Moment } from './moments.ts';
import type { PlayName } from './plays.ts';

/** A test that is somewhere else: its file, and its title or a part of it. */
export type Test = readonly [file: string, title: string];
export type Answer = { readonly held: readonly Test[] } | { readonly cannot: string };

export interface SimulatorAnswer {
  readonly play: PlayName;
  /** Where it strikes. Default: everywhere. */
  readonly at?: readonly Moment[];
  /** Why it strikes nowhere else. */
  readonly because?: string;
}

export interface FaultRow {
  readonly no: number;
  readonly fault: string;
  readonly simulator: SimulatorAnswer | Answer;
  readonly qemu: Answer;
  readonly xen: Answer;
}

const held = (...tests: readonly Test[]) => ({ held: tests });
const KILLED = held(['test/faults/kill-points.test.ts', 'is followed by one that converges']);
const XEN_KILLED = held(['test/xen/restarts.test.ts', 'is followed by one that converges']);
const HOST_PULLED: Test = ['test/usb-host/usher.test.ts', 'pulled, it is gone for the guest and for us'];
const XEN_PULLED: Test = ['test/xen/ports.test.ts', 'Usher: it is unplugged: the port is empty'];
const PULLED_IN_ATTACH: Test = [
  'src/hypervisor/xen/usb.test.ts',
  'a device that is unplugged while it is being attached',
];
/** A play with a real QEMU. */
const onQemu = (name: string): Test => ['test/faults/table.qemu.test.ts', name];
const QMP_ENDINGS: Test = ['src/wire/qmp/session.ending.test.ts', 'ends with one fault for all when QEMU'];
const ABOVE_DRIVERS = 'It is decided above the drivers, and plays in the simulator.';
const NO_QMP =
  'PV guests have their devices by xenstore; for HVM guests the QMP session is the one of the QEMU driver.';
const NO_XENSTORE = 'There is no xenstore without Xen.';
/** A call's own fault strikes when it is called. */
const NEXT_CALL = {
  at: ['attach intended', 'detach intended'],
  because: 'It is the answer to the call that follows.',
} as const;
const TWO_HANDS: Test = ['test/daemon/bad-input.test.ts', 'a second daemon on the same home is refused'];
const LOCK: Test = ['test/store/processes.test.ts', 'a lock ends with the process that held it'];
const NEW_KERNEL_EVENTS =
  'Devices are listed anew at each hint, whatever it said: an event that is lost, doubled or out of order is a hint that is.';

export const FAULTS: readonly FaultRow[] = [
  {
    no: 1,
    fault: 'unplugged',
    simulator: { play: 'unplug' },
    qemu: held(HOST_PULLED, onQemu('it is pulled')),
    xen: held(XEN_PULLED, PULLED_IN_ATTACH),
  },
  {
    no: 1,
    fault: 'unplugged while the kernel still sets it up',
    simulator: {
      cannot:
        'What is not set up is not listed, and the daemon itself leaves no device to settle: see the other drivers.',
    },
    qemu: held(
      ['src/usb/sysfs.test.ts', 'a device that is not configured yet is left out'],
      ['src/usb/attacher.test.ts', 'an attach goes through its states'],
    ),
    xen: held(['src/hypervisor/xen/usb-settling.test.ts', 'one that is unplugged not at all']),
  },
  {
    no: 2,
    fault: 'replugged at once',
    simulator: { play: 'replug at once' },
    qemu: held(['test/usb-host/usher.test.ts', 'in another port it comes back by itself']),
    xen: held(['test/xen/device-model.test.ts', 'it lives when a device comes and goes as fast as can be asked for']),
  },
  {
    no: 2,
    fault: 'another device in its place within 50 ms, with the number that it had',
    simulator: { play: 'another device with the same number' },
    qemu: held(
      ['test/qemu/devices.test.ts', 'a device of the host that is not there is gone'],
      onQemu('it is pulled, and another one is put in its place'),
    ),
    xen: held(
      ['test/xen/ports.test.ts', 'Usher: another device in the same place is not taken for it'],
      ['src/hypervisor/xen/usb.test.ts', 'another plug at the same place is not taken for the device'],
    ),
  },
  {
    no: 3,
    fault: 'the same device in another port',
    simulator: { play: 'another port' },
    qemu: held(['test/usb-host/usher.test.ts', 'in another port it comes back by itself']),
    xen: held(['test/xen/ports.test.ts', 'Usher: it comes back by itself, in another socket too']),
  },
  {
    no: 4,
    fault: '50 devices behind a hub disappear together',
    simulator: {
      play: 'a hub of 50',
      at: ['attaching', 'attached', 'detaching'],
      because: 'While one of them is at one moment, the others are at all the others.',
    },
    qemu: {
      cannot:
        'The small host has not so many devices; eight go side by side in test/qemu/devices.test.ts, and the daemon does not tell drivers apart.',
    },
    xen: held(['test/xen/device-model.test.ts', 'it lives when the first of three devices is pulled']),
  },
  {
    no: 5,
    fault: 'the VM is killed',
    simulator: { play: 'the VM is killed' },
    qemu: held(
      ['test/qemu/driver.test.ts', 'QEMU killed in the middle of anything is a fault, never a wait'],
      onQemu('QEMU is killed'),
    ),
    xen: held(['test/xen/ports.test.ts', 'Usher: what a dead domain has left keeps no device from anybody']),
  },
  {
    no: 5,
    fault: 'the VM panics',
    simulator: { play: 'the VM panics' },
    qemu: held(['test/daemon/life.test.ts', 'its device with it']),
    xen: held(
      ['test/contract/deaths.ts', 'is a domain dead by'],
      ['test/xen/ports.test.ts', 'Usher: a guest that powers off gives its devices back'],
    ),
  },
  {
    no: 6,
    fault: 'the VM reboots: another domain of the same uuid',
    simulator: { play: 'the VM reboots' },
    qemu: held(['test/daemon/life.test.ts', 'its device with it'], onQemu('the VM is reset')),
    xen: held(
      ['test/xen/restarts.test.ts', 'a reboot is answered'],
      ['test/xen/policy.test.ts', 'after a restart of the VM it has its device again'],
    ),
  },
  {
    no: 7,
    fault: 'the backend VM is killed and comes back with other bus numbers',
    simulator: { play: 'the backend VM restarts' },
    qemu: { cannot: 'On QEMU no VM lends devices to another.' },
    xen: { cannot: 'VMs that lend their devices are not there yet on Xen.' },
  },
  { no: 8, fault: 'the daemon is killed', simulator: { play: 'nothing' }, qemu: KILLED, xen: XEN_KILLED },
  {
    no: 8,
    fault: 'power is cut: the journal of the trail is torn',
    simulator: held(
      ['test/faults/table.simulator.test.ts', 'a journal that is torn in the last row'],
      ['test/store/processes.test.ts', 'a writer that is killed leaves a whole chain'],
    ),
    qemu: { cannot: ABOVE_DRIVERS },
    xen: held(['test/xen/lab.test.ts', 'has lost nothing that was written after a power cut']),
  },
  {
    no: 9,
    fault: 'the hypervisor refuses',
    simulator: { play: 'the driver is refused', ...NEXT_CALL },
    qemu: held(
      ['test/daemon/life.test.ts', 'an attach that fails is told with its reason, tried again, and comes good'],
      ['src/wire/qmp/session.opening.test.ts', 'tells a missing, a deaf and an overlong one apart'],
    ),
    xen: held(['src/hypervisor/xen/usb.emulated.test.ts', 'what QEMU refuses leaves nothing']),
  },
  {
    no: 9,
    fault:
      'the hypervisor does what it is asked and its answer is lost: closed in mid-reply, half a line, garbage, 10 MB',
    simulator: { play: 'the answer is lost', ...NEXT_CALL },
    qemu: held(
      QMP_ENDINGS,
      ['test/qemu/qmp.test.ts', 'a link sees a killed QEMU as gone, with a command in flight'],
      onQemu('the answer is cut in mid-line'),
      onQemu('the answer is garbage'),
    ),
    xen: held(QMP_ENDINGS, ['src/wire/qmp/parser.test.ts', 'gives up a 10 MB line at 4 MiB']),
  },
  {
    no: 9,
    fault: 'the hypervisor hangs and has done nothing',
    simulator: { play: 'the driver hangs', ...NEXT_CALL },
    qemu: held(
      ['src/wire/qmp/session.ending.test.ts', 'ends when QEMU does not read what is sent'],
      onQemu('QEMU stands still'),
      ['test/qemu/driver.test.ts', 'a QEMU that does not answer is no vanished one, hides no other'],
    ),
    xen: held([
      'src/hypervisor/xen/usb.test.ts',
      'a device model that does not take the device: everything is as before',
    ]),
  },
  {
    no: 9,
    fault: 'the hypervisor hangs and has done it: DEVICE_DELETED comes late, or never',
    simulator: { play: 'the answer hangs', ...NEXT_CALL },
    qemu: held(
      ['src/wire/qmp/session.events.test.ts', 'gives up an event that never comes, or comes late'],
      ['src/wire/qmp/session.test.ts', 'drops a late reply, also a doubled one'],
    ),
    xen: { cannot: NO_QMP },
  },
  {
    no: 9,
    fault: 'looks at the VM hang',
    simulator: { play: 'looks hang' },
    qemu: held(['test/qemu/driver.test.ts', 'a QEMU that does not answer is no vanished one, hides no other']),
    xen: held([
      'src/hypervisor/xen/driver.observation.test.ts',
      'an xl that prints nonsense, or hangs, is a clear fault',
    ]),
  },
  {
    no: 9,
    fault: 'looks at the VM fail',
    simulator: { play: 'looks fail' },
    qemu: held(['test/qemu/driver.test.ts', 'is out of reach, not vanished: it is started once']),
    xen: held(['src/hypervisor/xen/usb-view.test.ts', 'a look that fails does not end the view']),
  },
  {
    no: 10,
    fault: 'xenstored restarts, or a watch is lost: what happens is not told',
    simulator: { play: 'hints are lost' },
    qemu: { cannot: NO_XENSTORE },
    xen: held(
      ['test/xen/restarts.test.ts', 'xenstored is updated live: an unplugging and a plugging are seen afterwards'],
      ['src/hypervisor/xen/usb.loss.test.ts', 'a cut connection to xenstore: what happened meanwhile is seen'],
    ),
  },
  {
    no: 10,
    fault: 'a storm of EAGAIN, or a quota is hit: everything is refused for a while',
    simulator: { play: 'a storm of refusals' },
    qemu: { cannot: NO_XENSTORE },
    xen: held(
      ['src/hypervisor/xen/usb-ports.test.ts', 'a storm of conflicts ends in a fault that says so'],
      ['src/hypervisor/xen/usb-ports.test.ts', 'what xenstored refuses is a fault'],
      ['test/xenstore/faults.test.ts', 'a storm of changes ends a transaction in EAGAIN'],
    ),
  },
  {
    no: 11,
    fault:
      'the disk of the state is full; SQLite tells a disk that may only be read, or fails, in the same class of errors',
    simulator: { play: 'the disk is full' },
    qemu: held(
      ['test/daemon/audit.test.ts', 'what cannot be audited is not begun, and doctor says why'],
      ['src/lib/sqlite.test.ts', 'says when the file cannot be made, read, or changed'],
    ),
    xen: { cannot: ABOVE_DRIVERS },
  },
  {
    no: 12,
    fault: 'events of the kernel are lost',
    simulator: { play: 'hints are lost' },
    qemu: held(
      ['src/usb/hotplug.test.ts', 'many events at once make few hints'],
      ['src/usb/router.test.ts', 'a sweep finds what no hint told'],
    ),
    xen: { cannot: NEW_KERNEL_EVENTS },
  },
  {
    no: 12,
    fault: 'events of the kernel come twice, late, and out of order',
    simulator: { play: 'hints come twice and late' },
    qemu: held(['src/usb/hotplug.test.ts', 'many events at once make few hints']),
    xen: { cannot: NEW_KERNEL_EVENTS },
  },
  {
    no: 13,
    fault: 'the clock jumps on',
    simulator: { play: 'the clock jumps on' },
    qemu: { cannot: ABOVE_DRIVERS },
    xen: { cannot: ABOVE_DRIVERS },
  },
  {
    no: 13,
    fault: 'the clock jumps back',
    simulator: { play: 'the clock jumps back' },
    qemu: { cannot: ABOVE_DRIVERS },
    xen: { cannot: ABOVE_DRIVERS },
  },
  {
    no: 13,
    fault: 'the host was suspended: every device is a new plug',
    simulator: { play: 'the host was suspended' },
    qemu: { cannot: 'The small host does not sleep; devices that are plugged anew together are those of a hub.' },
    xen: { cannot: 'The emulated host does not sleep.' },
  },
  {
    no: 14,
    fault: 'a device that takes 5 s among fast ones',
    simulator: { play: 'another device is slow' },
    qemu: { cannot: 'An emulated device takes no time; one that hangs is one whose QEMU does.' },
    xen: held(['src/hypervisor/xen/usb-settling.test.ts', 'a guest that never configures it is not waited for long']),
  },
  {
    no: 15,
    fault: 'no CPU is left: every answer takes longer than a look may',
    simulator: { play: 'no CPU is left' },
    qemu: held(['test/daemon/host-boot.test.ts', 'a hypervisor that answers late: its VMs wait']),
    xen: { cannot: 'The emulated host is as slow as that by itself: this is what its tests run on.' },
  },
  {
    no: 16,
    fault: 'two daemons are started',
    simulator: held(TWO_HANDS, LOCK),
    qemu: held(TWO_HANDS),
    xen: { cannot: ABOVE_DRIVERS },
  },
  {
    no: 17,
    fault: 'another policy is loaded',
    simulator: { play: 'another policy' },
    qemu: held(
      [
        'test/daemon/policy.test.ts',
        'a rule attaches what it matches, and says so with its line; without it the device goes back',
      ],
      onQemu('another policy is loaded'),
    ),
    xen: held(['test/xen/policy.test.ts', 'another policy takes back what it denies']),
  },
  {
    no: 17,
    fault: 'a policy with an error is loaded',
    simulator: { play: 'a policy with an error' },
    qemu: held([
      'test/daemon/policy.test.ts',
      'a policy with errors is refused with every place, and what held holds on',
    ]),
    xen: { cannot: ABOVE_DRIVERS },
  },
  {
    no: 18,
    fault: 'the VM is paused',
    simulator: { play: 'the VM is paused' },
    qemu: held(onQemu('the VM is paused')),
    xen: held(['test/contract/usb.ts', 'a device that is detached can be attached again, elsewhere']),
  },
  {
    no: 18,
    fault: 'the VM is suspended, and restored',
    simulator: { play: 'the VM is suspended' },
    qemu: held(
      ['test/daemon/life.test.ts', 'suspended, the daemon restarted, restored: the same guest with its device'],
      onQemu('the VM is suspended'),
    ),
    xen: held(['test/xen/restarts.test.ts', 'suspend and restore: the device leaves and comes back']),
  },
  {
    no: 19,
    fault: 'its port is taken by somebody else',
    simulator: {
      play: 'the port is taken',
      at: ['seen', 'attach intended', 'attaching', 'out of the VM', 'detach concluded'],
      because: 'At the others the port has the device itself.',
    },
    qemu: held(['test/contract/usb.ts', 'a port that is taken is refused, with what is there']),
    xen: held([
      'src/hypervisor/xen/usb-ports.test.ts',
      'one that somebody else takes between our look and our write is theirs',
    ]),
  },
  {
    no: 19,
    fault: 'no controller is left, for the device model is gone',
    simulator: { play: 'the device model is gone' },
    qemu: { cannot: 'The device model is the domain: without it the VM is killed.' },
    xen: held(['test/xen/device-model.test.ts', 'Usher: one that is killed is seen at once, and USB comes back']),
  },
  {
    no: 19,
    fault: 'no controller has its speed',
    simulator: { play: 'the speed is wrong', at: ['seen'], because: 'It is found before an attach is planned.' },
    qemu: held(['src/usb/plan.ports.test.ts', 'controllers: the first that has its speed']),
    xen: held(['src/usb/planned.test.ts', 'a PV controller takes SuperSpeed devices in version 2']),
  },
  {
    no: 20,
    fault: 'the VM is saved with the device attached',
    simulator: { play: 'a checkpoint' },
    qemu: held(['test/contract/saving.ts', 'with a device attached nothing is saved, and the guest goes on']),
    xen: held(['test/xen/restarts.test.ts', 'xl save and xl restore empty the ports; Usher attaches again']),
  },
  {
    no: 20,
    fault: 'the VM is moved to another host with the device attached',
    simulator: { cannot: 'Usher moves no VM to another host.' },
    qemu: { cannot: 'Usher moves no VM to another host.' },
    xen: { cannot: 'Usher moves no VM to another host.' },
  },
];

/** Where a row of the simulator strikes. */
export const momentsOf = ({ at = MOMENTS }: SimulatorAnswer): readonly Moment[] => at;
