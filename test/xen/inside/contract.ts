/** The driver contract on real Xen: the kind of guest by the environment variable `XEN_KIND`, the parts by `XEN_PARTS`. */

import type { VirtMode } from '../../../src/model/vm.ts';
import { describeDriver, type Part } from '../../contract/suite.ts';
import { makeXenRig } from './xen-rig.ts';

const virtMode = process.env['XEN_KIND'] as VirtMode;
const parts = (process.env['XEN_PARTS'] ?? '').split(' ') as Part[];
const devices = virtMode === 'hvm' ? 'software' : 'host';
describeDriver(`Xen, ${virtMode}, ${devices} devices`, () => makeXenRig({ virtMode, devices }), parts);
