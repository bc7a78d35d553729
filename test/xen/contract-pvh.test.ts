import { testContract } from './contract.ts';

testContract('pvh', 'host');
