import { PARTS_IN_TIME, testContract } from './contract.ts';

testContract('pvh', 'host', PARTS_IN_TIME);
