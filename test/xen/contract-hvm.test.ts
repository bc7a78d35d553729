import { testContract } from './contract.ts';

testContract('hvm');
