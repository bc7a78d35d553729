/** The moments of a device's way into a VM and out of it at which a fault can strike, in the order in which it passes them. */

export const MOMENTS = [
  'seen',
  'attach intended',
  'attaching',
  'in the VM',
  'attach concluded',
  'attached',
  'detach intended',
  'detaching',
  'out of the VM',
  'detach concluded',
] as const;
export type Moment = (typeof MOMENTS)[number];

/** What each of them is: the state of the device, and whether its intent and outcome are written. */
export const MEANINGS: Readonly<Record<Moment, string>> = {
  seen: 'queued: a look has shown the device, and what is planned from it is old by now; no intent is written',
  'attach intended': 'attaching: the intent is written, and the driver has not been asked',
  attaching: 'attaching: the driver is at it, and the device is not in the VM',
  'in the VM': 'attaching: the device is in the VM, and no outcome is written',
  'attach concluded': 'attaching: the outcome is written, and the VM has not been observed since',
  attached: 'attached: all is at rest',
  'detach intended': 'detaching: the intent is written, and the driver has not been asked',
  detaching: 'detaching: the driver is at it, and the device is in the VM',
  'out of the VM': 'detaching: the device has left, and no outcome is written',
  'detach concluded': 'detaching: the outcome is written, and the VM has not been observed since',
};

/** Those at which the device is on its way out, by a person's hand. */
export const isLeaving = (moment: Moment): boolean => MOMENTS.indexOf(moment) > MOMENTS.indexOf('attached');
