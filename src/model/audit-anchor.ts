/**
 * An anchor: the head of an audit trail, kept where whoever can change the trail cannot, as a line of the system log. How
 * it is written, and read back out of whatever the log made of it. Pure.
 */

export interface Anchor {
  readonly row: number;
  /** Of that row: 64 hex digits. */
  readonly hash: string;
  /** Whose trail it is: the home of the daemon. */
  readonly home: string;
}

const FORM = /\baudit head row=(\d{1,15}) hash=([0-9a-f]{64}) home=([^\s"]+)/;

/** Writes an anchor, so that {@link readAnchor} gives it again. */
export function formatAnchor({ row, hash, home }: Anchor): string {
  return `audit head row=${row} hash=${hash} home=${encodeURI(home)}`;
}

/** Reads the anchor in a line of a log, whatever stands before and behind it; `undefined` when there is none. */
export function readAnchor(untrustedLine: string): Anchor | undefined {
  const [, row, hash, home] = FORM.exec(untrustedLine) ?? [];
  if (row === undefined || hash === undefined || home === undefined) return undefined;
  try {
    return { row: Number(row), hash, home: decodeURI(home) };
  } catch {
    return undefined;
  }
}

/**
 * Takes at most `most` of the anchors: the newer half of them, and of the older ones as many at even distances. One that
 * agrees speaks for all rows before it, so nothing but the place of a change is known less exactly.
 */
export function thinAnchors<A extends Anchor>(anchors: readonly A[], most: number): readonly A[] {
  if (anchors.length <= most) return anchors;
  const newer = Math.ceil(most / 2);
  const older = anchors.slice(0, anchors.length - newer);
  const step = older.length / (most - newer);
  const spread = Array.from({ length: most - newer }, (_, i) => older[Math.floor(i * step)]);
  return [...spread.filter((anchor) => anchor !== undefined), ...anchors.slice(anchors.length - newer)];
}
