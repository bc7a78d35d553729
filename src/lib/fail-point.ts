/**
 * Fail points: named places at which a test has the process killed, to prove that the next one converges. Without the
 * environment variable they cost one comparison.
 */

/** Every place, in the order in which a device passes them; the kill tests go through this list. */
export const FAIL_POINTS = [
  'attach.before-intent',
  'attach.after-intent',
  'attach.content-added',
  'attach.device-added',
  'attach.before-outcome',
  'attach.after-outcome',
  'detach.before-intent',
  'detach.after-intent',
  'detach.requested',
  'detach.device-deleted',
  'detach.content-removed',
  'detach.before-outcome',
  'detach.after-outcome',
] as const;

/** The places that only a device passes that goes into a domain of Xen, or out of it, and a device model that is revived. */
export const XEN_FAIL_POINTS = [
  'xen.attach.after-write',
  'xen.attach.taken',
  'xen.detach.after-clear',
  'xen.detach.released',
  'xen.revive.marked',
  'xen.revive.cleared',
  'xen.revive.started',
  'xen.revive.noted',
] as const;
export type FailPoint = (typeof FAIL_POINTS)[number] | (typeof XEN_FAIL_POINTS)[number];

const armed = process.env['USHER_FAIL_POINT'];

/** Kills this process by SIGKILL, as a power cut would, when `USHER_FAIL_POINT` names the place. */
export function failPoint(place: FailPoint): void {
  if (armed === place) process.kill(process.pid, 'SIGKILL');
}
