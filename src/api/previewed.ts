/** The operations of which a preview is given (`preview`, `--dry-run`): all that change something, but for a console's place. */
import type { OperationName } from './operations.ts';

export const PREVIEWED = [
  'vm.create',
  'vm.adopt',
  'vm.set',
  'vm.configure',
  'vm.reread',
  'vm.remove',
  'vm.start',
  'vm.pause',
  'vm.unpause',
  'vm.shutdown',
  'vm.restart',
  'vm.reset',
  'vm.destroy',
  'vm.suspend',
  'vm.restore',
  'vm.checkpoint',
  'vm.insert',
  'vm.eject',
  'vm.memory',
  'vm.trigger',
  'usb.plug',
  'usb.unplug',
  'usb.attach',
  'usb.detach',
  'usb.release',
  'usb.assign',
  'usb.unassign',
  'usb.answer',
  'usb.reconcile',
  'policy.load',
  'trial.confirm',
] as const satisfies readonly OperationName[];
export type PreviewedOperation = (typeof PREVIEWED)[number];

/** Tells whether a preview is given of the operation. */
export function isPreviewed(operation: string): operation is PreviewedOperation {
  return (PREVIEWED as readonly string[]).includes(operation);
}
