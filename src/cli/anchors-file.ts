/** Anchors of an audit trail out of a log: a file, or what comes on standard input. Lines that are none are passed over. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { MAX_ANCHORS } from '../api/operations.ts';
import { Fault, messageOf } from '../lib/fault.ts';
import { type Anchor, readAnchor, thinAnchors } from '../model/audit-anchor.ts';

/** So many are kept while reading: the log of years may have more than fit in memory. */
const MAX_KEPT = 4 * MAX_ANCHORS;

/** Reads them, as many as a check takes; `-` is standard input. @throws Fault `file.unreadable`, `usage` when there is none */
export async function readAnchors(file: string, input: Readable = process.stdin): Promise<readonly Anchor[]> {
  let anchors: Anchor[] = [];
  try {
    const stream = file === '-' ? input : createReadStream(file);
    // A stream that fails does not end the reading of its lines by itself.
    const failed = new Promise<never>((_, reject) => stream.once('error', reject));
    const lines = (async () => {
      for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
        const anchor = readAnchor(line);
        if (anchor !== undefined) anchors.push(anchor);
        if (anchors.length > MAX_KEPT) anchors = [...thinAnchors(anchors, MAX_KEPT / 2)];
      }
    })();
    await Promise.race([lines, failed]);
  } catch (error) {
    throw new Fault('file.unreadable', { file, what: messageOf(error) }, { cause: error });
  }
  if (anchors.length > 0) return thinAnchors(anchors, MAX_ANCHORS);
  const hint = 'They are lines of the system log: journalctl -t usherd -o cat | usher audit verify --anchors -';
  throw new Fault('usage', { what: `There is no anchor of an audit trail in ${file}` }, { hint });
}
