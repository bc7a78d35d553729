import { testContract } from './contract.ts';

testContract('pv', 'host', { inTime: ['usb'] });
