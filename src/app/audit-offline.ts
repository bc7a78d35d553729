/** The check of the audit trail without a daemon: reads the file, changes nothing. */
import type { AuditVerification } from '../api/views.ts';
import { placesOf } from '../config/places.ts';
import { isFault } from '../lib/fault.ts';
import { AuditLog } from './audit.ts';
import type { Proof } from './audit-chain.ts';
import { verifyTrail } from './audit-proof.ts';

/** Checks the trail of this user's home; `undefined` when there is none. @throws Fault `store.broken`, `store.newer`, `params.invalid` */
export async function verifyOffline(
  proof: Proof,
): Promise<(AuditVerification & { readonly file: string }) | undefined> {
  const { auditFile, home } = placesOf(process.env);
  let audit: AuditLog;
  try {
    audit = new AuditLog(auditFile, { isReadOnly: true });
  } catch (error) {
    if (isFault(error, 'file.unreadable')) return undefined;
    throw error;
  }
  try {
    return { ...(await verifyTrail(audit, proof, home)), file: auditFile };
  } finally {
    audit.close();
  }
}
