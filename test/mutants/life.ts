/** Ways to break a VM's life: what keeps saves, restores, restarts and refused commands from doing harm. */
import type { Mutant } from './mutant.ts';

type Change = readonly [off: string, file: string, from: string, to: string, test: string, name: string];

const QEMU_FILE = 'src/hypervisor/qemu/save-file.ts';
const QEMU_FILE_TEST = 'src/hypervisor/qemu/save-file.test.ts';
const VERBS = 'src/monitor/verbs.ts';
const MONITOR_TEST = 'src/monitor/monitor.test.ts';
const XEN_SAVING_TEST = 'src/hypervisor/xen/driver.saving.test.ts';

const CHANGES: readonly Change[] = [
  [
    'the checksum of a save is looked at',
    QEMU_FILE,
    "if (hash.digest('hex') !== header.sha256) throw",
    "if (hash.digest('hex') === '') throw",
    QEMU_FILE_TEST,
    'a damaged file is refused',
  ],
  [
    'a save of another VM is refused',
    QEMU_FILE,
    'if (difference !== undefined) throw refuse(difference);',
    'void difference;',
    QEMU_FILE_TEST,
    'a file that does not fit the VM is refused',
  ],
  [
    'the checksum of a save of Xen is looked at',
    'src/hypervisor/xen/save-file.ts',
    'return checksum.value === trailer.crc32 ? undefined :',
    'return checksum.value !== undefined ? undefined :',
    'src/hypervisor/xen/save-file.test.ts',
    'damage anywhere is found by it',
  ],
  [
    'a checkpoint over writable disks is refused on Xen',
    'src/hypervisor/xen/save.ts',
    'if (writable.length > 0) throw disksRefusal',
    'if (writable.length < 0) throw disksRefusal',
    XEN_SAVING_TEST,
    'a checkpoint over a disk is refused unless it is ignored',
  ],
  [
    'a disk that has changed since the save is noticed',
    'src/hypervisor/saved-disks.ts',
    'if (now !== undefined && now !== stamp) {',
    'if (now === undefined) {',
    XEN_SAVING_TEST,
    'its restore unless the disk is as it was',
  ],
  [
    'what a checkpoint would be refused for is looked at before anything is touched',
    VERBS,
    "await vm.driver.checkSave(vm.uuid, neededFile(turn), { afterwards: 'running', disks, signal });",
    'void [vm, signal, disks];',
    MONITOR_TEST,
    'a save that would be refused is, before anything is touched',
  ],
  [
    'a restore removes its file only when the guest runs',
    VERBS,
    "  turn.base = 'paused';\n  // The save is forgotten",
    "  turn.base = 'paused';\n  if (!turn.args.isKept) await removeSave(vm, file, turn);\n  // The save is forgotten",
    MONITOR_TEST,
    'restore deletes the file when the guest goes on',
  ],
  [
    'the file of a guest that was restored paused stays',
    VERBS,
    '  if (turn.args.isPaused) {\n    turn.warnings.push(`The save file',
    '  if (turn.args.isPaused === false) {\n    turn.warnings.push(`The save file',
    MONITOR_TEST,
    'a file that is restored paused stays',
  ],
  [
    'who asked for a live save and got none is told',
    VERBS,
    'if (turn.args.isLive !== true || isLive) return;',
    'if (turn.args.isLive !== undefined || isLive) return;',
    MONITOR_TEST,
    'what a save was like is told',
  ],
  [
    'a crash loop has a cap',
    'src/monitor/restart-meter.ts',
    'if (this.#restarts.length >= this.#limits.maxRestarts) return undefined;',
    'if (this.#restarts.length > 2 * this.#limits.maxRestarts) return undefined;',
    'src/monitor/deaths.test.ts',
    'a crash loop ends with the VM crashed',
  ],
  [
    'a state refuses what makes no sense',
    'src/monitor/states.ts',
    'if (passage !== undefined) return passage;',
    'if (passage !== undefined || state === "halted") return passage ?? { during: state, to: state };',
    MONITOR_TEST,
    'every verb in every state of rest does what the table says',
  ],
  [
    'a command without what it needs asks nothing of the VM',
    'src/monitor/commands.ts',
    'if (missing !== undefined) throw usage',
    'if (missing !== undefined && missing.name === "") throw usage',
    'src/monitor/commands.test.ts',
    'is understood, and what it does not take is refused',
  ],
  [
    'a frame is asked for once',
    'src/monitor/framed-session.ts',
    'if (this.#isOver || this.#hasAsked) return;',
    'if (this.#isOver && this.#hasAsked) return;',
    'src/monitor/framed-session.test.ts',
    'what comes behind a request, while it is answered, is asked of nobody',
  ],
  [
    'a subscriber that closes its side early is let go',
    'src/monitor/framed-session.ts',
    'if (this.#hasEnded) this.#socket.end();',
    'if (this.#isOver) this.#socket.end();',
    'src/monitor/framed-session.test.ts',
    'a subscriber that closes its side is let go',
  ],
];

export const LIFE: readonly Mutant[] = CHANGES.map(([off, file, from, to, test, name]) => ({
  breaks: 'life of a VM',
  off,
  file,
  from,
  to,
  test: { file: test, name },
}));
