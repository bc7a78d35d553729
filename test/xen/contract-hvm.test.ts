import { testContract } from './contract.ts';

testContract('hvm', 'software', { inTime: [] });
testContract('hvm', 'host', { parts: ['usb'] });
