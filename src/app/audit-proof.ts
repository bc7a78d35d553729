/** Checks a trail against what was kept elsewhere; of anchors only those of its own home count. */
import type { AuditVerification } from '../api/views.ts';
import { Fault } from '../lib/fault.ts';
import type { AuditLog } from './audit.ts';
import type { Proof } from './audit-chain.ts';

/** Checks the trail of a home. @throws Fault `params.invalid` when anchors are given and none is of that home */
export async function verifyTrail(audit: AuditLog, { head, anchors }: Proof, home: string): Promise<AuditVerification> {
  const ours = anchors?.filter((anchor) => anchor.home === home);
  if (anchors !== undefined && ours?.length === 0) {
    throw new Fault('params.invalid', {
      field: 'anchors',
      what: `none of ${anchors.length} is of the trail of ${home}`,
    });
  }
  const verification = await audit.verify({ head, anchors: ours });
  const foreignAnchors = (anchors?.length ?? 0) - (ours?.length ?? 0);
  return foreignAnchors === 0 ? verification : { ...verification, foreignAnchors };
}
