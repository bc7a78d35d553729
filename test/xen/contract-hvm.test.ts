import { testContract } from './contract.ts';

testContract('hvm', 'software');
testContract('hvm', 'host', { parts: ['usb'] });
