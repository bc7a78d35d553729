import { PARTS_IN_TIME, testContract } from './contract.ts';

testContract('hvm', 'software', PARTS_IN_TIME);
testContract('hvm', 'host', ['usb']);
