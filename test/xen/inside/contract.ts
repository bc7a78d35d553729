/** The driver contract on real Xen, for the kind of guest that the environment variable `XEN_KIND` names. */

import type { VirtMode } from '../../../src/model/vm.ts';
import { describeDriver } from '../../contract/suite.ts';
import { makeXenRig } from './xen-rig.ts';

const virtMode = process.env['XEN_KIND'] as VirtMode;
const devices = virtMode === 'hvm' ? 'software' : 'host';
describeDriver(`Xen, ${virtMode}, ${devices} devices`, () => makeXenRig({ virtMode, devices }));
if (virtMode === 'hvm') {
  describeDriver('Xen, hvm, host devices', () => makeXenRig({ virtMode, devices: 'host' }), ['usb']);
}
