/** How each fault of the table is made to happen in a simulated world, what is done about it, and what then is to be the case. */
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestAction, PlugOptions, Trouble, WorldMethod } from '../../src/hypervisor/simulator/world-port.ts';
import { deviceKey, type UsbDevice } from '../../src/model/usb.ts';
import type { FaultStage } from './fault-stage.ts';

/** The device that the fault is about: it belongs to the VM `work`. */
export const SUBJECT = { backend: 'dom0', busid: '1-1', serial: 'S1' } as const;
/** The hub's devices are that many; they belong to `work`, too. */
const HUB_DEVICES = 50;

export interface Play {
  /** The device that the fault is about, where it is not the usual one. */
  readonly subject?: Partial<PlugOptions>;
  /** The config of the VM `work`. */
  readonly work?: readonly string[];
  /** Put in place before the first daemon, and before each strike. */
  readonly prepare?: (stage: FaultStage) => void;
  readonly begin?: (stage: FaultStage) => void;
  /** Has the fault happen: at once, for it strikes at a moment. */
  readonly strike: (stage: FaultStage) => void;
  /** What happens afterwards, one after the other: after each, devices are to be where they belong. */
  readonly after?: readonly ((stage: FaultStage) => Promise<void> | void)[];
  /** The first of them comes before the next daemon, when one was killed: it could not begin otherwise. */
  readonly isReliefFirst?: boolean;
  /** The domain of `work` may be another one afterwards: that is the fault. */
  readonly endsWork?: boolean;
  /** The fault is about every device, the bystander's too. */
  readonly isAboutAll?: boolean;
  /** Whether nothing is asked of the places of devices yet: the fault goes on. */
  readonly isFirstUnasked?: boolean;
  /** Rules, in the place of assignments. */
  readonly rules?: string;
  /** The VM that the device belongs to now, when it is not where everything does. */
  readonly belongs?: string;
  /** Why the device cannot be in its VM now, as its verdict has to say: the reason that it waits for. */
  readonly waits?: (device: UsbDevice, stage: FaultStage) => string | undefined;
}

const pull = (stage: FaultStage) => stage.unplug(SUBJECT.busid);
const put = (stage: FaultStage) => void stage.plug(SUBJECT.busid, SUBJECT.serial);
function replug(stage: FaultStage): void {
  pull(stage);
  put(stage);
}
function moveOver(stage: FaultStage): void {
  pull(stage);
  stage.plug('1-3', SUBJECT.serial);
}
const isPlugged = (stage: FaultStage, busid: string, backend = 'dom0') =>
  stage.world.devices(backend).some((device) => device.busid === busid);

/** Has the next calls of the device's VM, or of the device, go wrong. */
function trouble(stage: FaultStage, trouble: Trouble, methods: readonly WorldMethod[], times = 1): void {
  const uuid = stage.uuidOf('work');
  for (const method of methods) stage.world.disturbances.add({ method, trouble, times, uuid });
}
const calm = (stage: FaultStage) => stage.world.disturbances.calm();
/** Longer than any deadline of a step. */
async function waitAndCalm(stage: FaultStage): Promise<void> {
  await stage.pass(40_000);
  calm(stage);
}
const MOVES = ['attachDevice', 'detachDevice'] as const;
const EVERYTHING = [...MOVES, 'find'] as const;
const failed = (when: 'before' | 'after') =>
  ({ do: 'fail', code: 'hypervisor.failed', details: { what: 'the answer was lost' }, when }) as const;

const act = (action: GuestAction) => (stage: FaultStage) => void stage.world.guest(stage.uuidOf('work'), action);
const startWork = async (stage: FaultStage) => void (await stage.do('vm.start', { vm: 'work' }));
const ask = (operation: string, params: unknown) => (stage: FaultStage) => stage.askAside(operation, params);

function hubDevices(): { busid: string; serial: string }[] {
  return Array.from({ length: HUB_DEVICES }, (_, i) => ({
    busid: `1-2.${1 + Math.floor(i / 10)}.${1 + (i % 10)}`,
    serial: `H${i + 1}`,
  }));
}
const HUB_BUSID = '1-2.6';
function putHub(stage: FaultStage): void {
  for (const { busid, serial } of hubDevices()) if (!isPlugged(stage, busid)) stage.plug(busid, serial);
}

function putWholeHub(stage: FaultStage): void {
  putHub(stage);
  stage.plug(HUB_BUSID, SUBJECT.serial);
}

const jump = (ms: number) => (stage: FaultStage) => {
  stage.wallAheadMs += ms;
};

const filler = (stage: FaultStage) => join(stage.places.stateFolder, 'filler');
function fill(stage: FaultStage): void {
  const { bavail, bsize } = statfsSync(stage.places.stateFolder);
  writeFileSync(filler(stage), Buffer.alloc(bavail * bsize));
}

function reEnumerate(stage: FaultStage, wallMs: number): void {
  stage.wallAheadMs += wallMs;
  for (const { backend, busid, untrustedSerial = '' } of [...stage.world.devices('dom0')]) {
    stage.world.unplug({ backend, busid });
    stage.plug(busid, untrustedSerial);
  }
}

const RULES = (vm: string) => `rules:\n  - match: { serial: S1 }\n    attach: ${vm}\n`;
const loadPolicy = (text: string) => (stage: FaultStage) => {
  writeFileSync(stage.places.policyFile, text);
  stage.askAside('policy.load', {});
};

const PLAYS = {
  nothing: { strike() {} },
  unplug: { strike: pull, after: [put] },
  'replug at once': { strike: replug },
  'another device with the same number': {
    strike(stage) {
      const { generation } = stage.world.devices('dom0').find(({ busid }) => busid === SUBJECT.busid) ?? {};
      pull(stage);
      stage.clock.after(40, () => stage.plug(SUBJECT.busid, 'X1', generation === undefined ? {} : { generation }));
    },
    after: [replug],
  },
  'another port': { strike: moveOver },
  'a hub of 50': {
    subject: { busid: HUB_BUSID },
    work: [
      'usbctrl = version=3,ports=15',
      'usbctrl = version=3,ports=15',
      'usbctrl = version=3,ports=15',
      'usbctrl = version=3,ports=15',
    ],
    begin: putHub,
    strike(stage) {
      for (const { busid } of [...hubDevices(), { busid: HUB_BUSID }]) stage.unplug(busid);
    },
    after: [putWholeHub],
  },
  'the VM is killed': { strike: act('kill'), after: [startWork], endsWork: true },
  'the VM panics': { strike: act('panic'), after: [startWork], endsWork: true },
  'the VM reboots': {
    strike: act('reboot'),
    after: [(stage) => stage.until('VM work runs', () => stage.stateOf('work') === 'running')],
    endsWork: true,
  },
  'the backend VM restarts': {
    subject: { backend: 'usbvm', busid: '3-1' },
    prepare: (stage) => void stage.plug('3-9', 'U1', { backend: 'usbvm' }),
    strike: (stage) => stage.world.removeBackend('usbvm'),
    after: [
      (stage) => {
        stage.plug('5-9', 'U1', { backend: 'usbvm' });
        stage.plug('5-1', SUBJECT.serial, { backend: 'usbvm' });
      },
    ],
    isReliefFirst: true,
  },
  'the driver is refused': { strike: (stage) => trouble(stage, failed('before'), MOVES) },
  'the answer is lost': { strike: (stage) => trouble(stage, failed('after'), MOVES) },
  'the driver hangs': {
    strike: (stage) => trouble(stage, { do: 'hang' }, MOVES),
    after: [waitAndCalm],
    isFirstUnasked: true,
  },
  'the answer hangs': {
    strike: (stage) => trouble(stage, { do: 'hang', when: 'after' }, MOVES),
    after: [waitAndCalm],
    isFirstUnasked: true,
  },
  'looks hang': {
    strike: (stage) => trouble(stage, { do: 'hang' }, ['find'], 3),
    after: [waitAndCalm],
    isFirstUnasked: true,
  },
  'looks fail': {
    strike: (stage) => trouble(stage, failed('before'), ['find'], 5),
    after: [calm],
    isFirstUnasked: true,
  },
  'hints are lost': {
    strike(stage) {
      stage.world.disturbances.setHints({ lose: 1000 });
      pull(stage);
      stage.clock.after(40, () => put(stage));
    },
    after: [calm],
  },
  'hints come twice and late': {
    strike(stage) {
      stage.world.disturbances.setHints({ duplicate: 1000, lateMs: 300 });
      pull(stage);
      stage.clock.after(40, () => put(stage));
    },
    after: [calm],
  },
  'a storm of refusals': {
    strike: (stage) => trouble(stage, failed('before'), EVERYTHING, 4),
    after: [calm],
    isFirstUnasked: true,
  },
  'the disk is full': {
    strike: fill,
    after: [(stage) => rmSync(filler(stage), { force: true })],
    isReliefFirst: true,
    isFirstUnasked: true,
  },
  'the clock jumps on': { strike: jump(3_600_000) },
  'the clock jumps back': { strike: jump(-3_600_000) },
  'the host was suspended': { strike: (stage) => reEnumerate(stage, 8 * 3_600_000), isAboutAll: true },
  'another device is slow': {
    strike(stage) {
      const device = deviceKey({ backend: 'dom0', busid: '1-7' });
      stage.world.disturbances.add({ method: 'attachDevice', trouble: { do: 'delay', ms: 5_000 }, device });
      stage.plug('1-7', 'W1');
    },
    after: [(stage) => stage.pass(6_000)],
    waits: ({ untrustedSerial }, stage) =>
      untrustedSerial === 'W1' && !stage.isSettled('dom0:1-7') ? 'attaching' : undefined,
  },
  'no CPU is left': {
    strike: (stage) => trouble(stage, { do: 'delay', ms: 6_000 }, EVERYTHING, 3),
    after: [waitAndCalm],
    isFirstUnasked: true,
  },
  'another policy': {
    rules: RULES('work'),
    strike: loadPolicy(RULES('spare')),
    belongs: 'spare',
  },
  'a policy with an error': {
    rules: RULES('work'),
    strike: loadPolicy('rules:\n  - match: { serial: S1 }\n    attach:\n'),
  },
  'the VM is paused': {
    strike: ask('vm.pause', { vm: 'work' }),
    after: [(stage) => stage.askAside('vm.unpause', { vm: 'work' })],
  },
  'the VM is suspended': {
    strike: ask('vm.suspend', { vm: 'work' }),
    after: [(stage) => stage.askAside('vm.restore', { vm: 'work' })],
    endsWork: true,
  },
  'a checkpoint': {
    strike: (stage) => stage.askAside('vm.checkpoint', { vm: 'work', file: join(stage.places.home, 'checkpoint') }),
  },
  'the port is taken': {
    work: ['usbctrl = version=3,ports=1'],
    strike(stage) {
      const device = stage.plug('1-8', 'F1');
      stage.world.attachDevice(stage.uuidOf('work'), { controller: 0, port: 1 }, device, true);
    },
    after: [
      (stage) => {
        stage.unplug('1-8');
      },
    ],
    waits: ({ untrustedSerial }, stage) => (untrustedSerial === 'S1' && isPlugged(stage, '1-8') ? 'port' : undefined),
  },
  'the device model is gone': {
    strike: (stage) => stage.world.setDeviceModel(stage.uuidOf('work'), true),
    after: [(stage) => stage.world.setDeviceModel(stage.uuidOf('work'), false)],
    waits: (_, stage) =>
      stage.world.find(stage.uuidOf('work'))?.usbTrouble === undefined ? undefined : 'device model',
  },
  'the speed is wrong': {
    work: ['usbctrl = version=2,ports=6'],
    subject: { speed: 'super' },
    strike() {},
    after: [replug],
    waits: ({ speed }) => (speed === 'super' ? 'controller' : undefined),
  },
} satisfies Record<string, Play>;
export type PlayName = keyof typeof PLAYS;

export const PLAY_NAMES = Object.keys(PLAYS) as readonly PlayName[];
export const playOf = (name: PlayName): Play => PLAYS[name];
