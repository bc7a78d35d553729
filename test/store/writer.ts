/** One of several processes that write the same stores: `writer.ts FOLDER NAME COUNT`. Says `ready` when it begins. */
import { join } from 'node:path';
import { AuditLog } from '../../src/app/audit.ts';
import { Inventory } from '../../src/inventory/inventory.ts';

const [folder = '', name = '', count = '0'] = process.argv.slice(2);
const inventory = new Inventory(join(folder, 'usher.db'), { defaultDriver: 'simulator' });
const audit = new AuditLog(join(folder, 'audit.db'));
console.log('ready');
const actor = { uid: 0, pid: process.pid, user: name };
for (let i = 0; i < Number(count); i++) {
  const intent = audit.intend({ actor, action: 'vm.create', vm: `${name}-${i}` });
  await inventory.createVm({ content: `name = ${name}-${i}\n` });
  audit.conclude(intent, 'ok');
}
audit.close();
inventory.close();
