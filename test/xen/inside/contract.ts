/** The driver contract on real Xen; the environment says for which kind of guest, which devices, and which parts of it. */

import type { VirtMode } from '../../../src/model/vm.ts';
import { describeDriver, type Part } from '../../contract/suite.ts';
import { makeXenRig } from './xen-rig.ts';

const virtMode = process.env['XEN_KIND'] as VirtMode;
const devices = process.env['XEN_DEVICES'] as 'host' | 'software';
const parts = (process.env['XEN_PARTS'] ?? '').split(' ') as Part[];
describeDriver(`Xen, ${virtMode}, ${devices} devices`, () => makeXenRig({ virtMode, devices }), parts);
