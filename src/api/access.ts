/**
 * What one needs to be allowed for each operation: a right, and over what. A table of its own beside operations.ts, and
 * typed by it: an operation that has no row here does not compile. Who has which right is in app/access.ts.
 */
import type { Right } from '../model/access.ts';
import { OPERATIONS, type OperationName } from './operations.ts';

/** What is asked for without being an operation: words of a monitor's text dialect. */
export const APART_ACTIONS = ['monitor.status', 'monitor.quit'] as const;
export type ApartAction = (typeof APART_ACTIONS)[number];
export type Action = OperationName | ApartAction;

/**
 * Over what the right is needed: nothing (whoever can connect may); the host as a whole; the VM that the parameter `vm`
 * names, and the host where it may be absent and is; the device that `device` names, which includes the VM that it is in
 * or waits for; both. Of a list one gets the rows that one may look at.
 */
export type About = 'nothing' | 'host' | 'vm' | 'device' | 'device and vm' | 'list of VMs' | 'list of devices';

export interface Need {
  readonly about: About;
  /** The right, when it is not that of the operation's class. */
  readonly right?: Right;
  /**
   * Parameters that name files of the host: the daemon opens them with its own rights, so that with any of them `write` on
   * the whole host is needed.
   */
  readonly files?: readonly string[];
  /** Parameters that overrule what protects the host, or last beyond the device: `write` on the whole host is needed, too. */
  readonly grave?: readonly string[];
}

/** Every action once. What brings devices to VMs for good decides over the whole host: it may take them from others. */
export const NEEDS: { readonly [A in Action]: Need } = {
  hello: { about: 'nothing' },
  doctor: { about: 'host' },
  'vm.create': { about: 'host' },
  'vm.adopt': { about: 'host' },
  'vm.list': { about: 'list of VMs' },
  'vm.show': { about: 'vm' },
  'vm.set': { about: 'vm' },
  'vm.config': { about: 'vm' },
  // Its values name files of the host, which are opened with the daemon's rights.
  'vm.configure': { about: 'host' },
  'vm.reread': { about: 'vm', files: ['path'] },
  'vm.remove': { about: 'vm' },
  'vm.start': { about: 'vm' },
  'vm.pause': { about: 'vm' },
  'vm.unpause': { about: 'vm' },
  'vm.shutdown': { about: 'vm' },
  'vm.restart': { about: 'vm' },
  'vm.reset': { about: 'vm' },
  'vm.destroy': { about: 'vm' },
  'vm.suspend': { about: 'vm', files: ['file'] },
  'vm.restore': { about: 'vm', files: ['file'] },
  'vm.checkpoint': { about: 'vm', files: ['file'] },
  'vm.insert': { about: 'vm', files: ['file'] },
  'vm.eject': { about: 'vm' },
  'vm.memory': { about: 'vm' },
  'vm.trigger': { about: 'vm' },
  'vm.vnc': { about: 'vm' },
  'vm.console': { about: 'vm' },
  'vm.log': { about: 'vm' },
  'usb.list': { about: 'list of devices' },
  'usb.plug': { about: 'host', files: ['file'] },
  'usb.unplug': { about: 'device' },
  'usb.attach': { about: 'device and vm', right: 'attach', grave: ['isForced'] },
  'usb.detach': { about: 'device', right: 'attach' },
  'usb.release': { about: 'device', right: 'attach' },
  'usb.pending': { about: 'list of devices' },
  'usb.answer': { about: 'device and vm', right: 'attach', grave: ['isRemembered'] },
  'usb.assign': { about: 'host' },
  'usb.unassign': { about: 'host' },
  'usb.assignments': { about: 'list of devices' },
  'usb.holds': { about: 'list of devices' },
  'usb.explain': { about: 'device' },
  'usb.trace': { about: 'device' },
  'usb.reconcile': { about: 'host' },
  'policy.show': { about: 'host' },
  'policy.load': { about: 'host', right: 'write' },
  // Parsing what is made for it takes seconds, in which the daemon does nothing else.
  'policy.diff': { about: 'host', right: 'control' },
  'policy.explain': { about: 'device' },
  'trial.list': { about: 'host' },
  'trial.confirm': { about: 'host' },
  preview: { about: 'host' },
  'events.follow': { about: 'vm' },
  'audit.list': { about: 'vm' },
  'audit.verify': { about: 'host' },
  'monitor.status': { about: 'vm', right: 'read' },
  'monitor.quit': { about: 'vm', right: 'control' },
};

/** Gives the right that an action needs: that of its class, unless its row says another. */
export function rightFor(action: Action): Right {
  return NEEDS[action].right ?? (isOperation(action) ? OPERATIONS[action].class : 'write');
}

function isOperation(action: Action): action is OperationName {
  return Object.hasOwn(OPERATIONS, action);
}
