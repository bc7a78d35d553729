/** What a former daemon left open in the audit trail is closed at the start, from what is observed. */
import type { AuditRow } from '../model/audit.ts';
import { deviceKey, formatSlot } from '../model/usb.ts';
import type { Engine } from './engine.ts';

/** Writes the outcome of every intent that has none. Legal once the fleet has seen its domains, before anything acts. */
export function closeOpenIntents({
  audit,
  fleet,
  inventory,
  log,
}: Pick<Engine, 'audit' | 'fleet' | 'inventory' | 'log'>): void {
  const open = audit.openIntents();
  if (open.length === 0) return;
  log.info('closing what a former daemon left open in the audit trail', { rows: open.length });
  const places = new Map<string, string>();
  for (const { uuid, name } of fleet.list()) {
    for (const attachment of fleet.domainOf(uuid)?.attachments ?? []) {
      places.set(deviceKey(attachment), `${name} ${formatSlot(attachment)}`);
    }
  }
  audit.concludeAll(
    open.map((row) => {
      const outcome = row.action === 'step.attach' || row.action === 'step.detach' ? stepOutcome(row) : 'unknown';
      return { intent: row.row, outcome, details: { closedAtStart: true, observed: observedOf(row) } };
    }),
  );

  function stepOutcome(row: AuditRow): 'ok' | 'failed' | 'unknown' {
    const vm = fleet.list().find(({ name }) => name === row.vm);
    if (vm !== undefined && fleet.find(vm.uuid) === undefined) return 'unknown'; // Its driver does not answer yet.
    const isIn = places.get(row.device ?? '')?.startsWith(`${row.vm} `) ?? false;
    return isIn === (row.action === 'step.attach') ? 'ok' : 'failed';
  }

  function observedOf(row: AuditRow): string {
    if (row.device !== undefined) {
      const place = places.get(row.device);
      return place === undefined ? `${row.device} is in no VM` : `${row.device} is in ${place}`;
    }
    const vm = inventory.listVms().find(({ uuid, name }) => row.vm === uuid || row.vm === name);
    return vm === undefined ? 'nothing' : `VM ${vm.name} is ${fleet.find(vm.uuid)?.state ?? 'halted'}`;
  }
}
