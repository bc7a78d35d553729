/** The commands `usher audit …`: the trail of who did what, whether it is whole, and taking it elsewhere. */
import type { Params } from '../../api/operations.ts';
import type { AuditVerification, AuditView } from '../../api/views.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { printable, printableJson } from '../../lib/text.ts';
import type { CommandSpec, Context, OptionSpec, Output } from '../command.ts';
import { type Column, table } from '../print.ts';
import { SINCE_FORMS } from '../since.ts';
import { given, numberOption, show, sinceOption, textOption } from '../values.ts';

const FILTERS: readonly OptionSpec[] = [
  { flags: '--vm <vm>', doc: 'only rows about that VM' },
  { flags: '--device <device>', doc: 'only rows about that device' },
  { flags: '--since <time>', doc: `only rows from then on: ${SINCE_FORMS}` },
];
/** Rows that are asked for at once by an export. */
const PAGE = 1000;

export const AUDIT_COMMANDS: readonly CommandSpec[] = [
  {
    noun: 'audit',
    verb: 'list',
    about: { operation: 'audit.list', says: 'Lists rows of the audit trail, oldest first.' },
    options: [...FILTERS, { flags: '-n, --limit <number>', doc: 'how many of the last rows (200)' }],
    examples: ['usher audit list --vm work --since 2h', 'usher audit list --device dom0:3-1.4 --since 2026-11-21'],
    async run(context) {
      const params = { ...filterOf(context), limit: numberOption(context, 'limit') ?? 200 };
      const rows = await (await context.daemon()).call('audit.list', params);
      return show(context, rows, () => table(rows, auditColumns(context.out), context.out));
    },
  },
  {
    noun: 'audit',
    verb: 'export',
    about: {
      operation: 'audit.list',
      says: 'Prints rows of the audit trail as JSON, one a line, oldest first; all of them, unless limited.',
    },
    options: FILTERS,
    examples: ['usher audit export > trail.jsonl', 'usher audit export --since 1w'],
    async run(context) {
      const filter = filterOf(context);
      const client = await context.daemon();
      for (let after = 0, isMore = true; isMore; ) {
        const rows = await client.call('audit.list', { ...filter, after, limit: PAGE });
        for (const row of rows) context.out.print(printableJson(JSON.stringify(row)));
        after = rows.at(-1)?.row ?? after;
        isMore = rows.length === PAGE;
      }
      return undefined;
    },
  },
  {
    noun: 'audit',
    verb: 'verify',
    about: { operation: 'audit.verify' },
    options: [
      { flags: '--head <hash>', doc: 'the hash of a head that you noted before' },
      { flags: '--anchors <log>', doc: 'a file of the system log, which heads are told to; - is standard input' },
    ],
    examples: [
      'usher audit verify',
      'journalctl -t usherd -o cat | usher audit verify --anchors -',
      'usher audit verify --anchors /var/log/auth.log',
    ],
    async run(context) {
      const file = textOption(context, 'anchors');
      // Most checks have none: what reads them is loaded only then.
      const anchors = file === undefined ? undefined : await (await import('../anchors-file.ts')).readAnchors(file);
      const proof = given({ head: headOf(context), anchors: anchors && [...anchors] });
      const answer = await verify(context, proof);
      const foreign = answer.foreignAnchors;
      const aside = foreign === undefined ? '' : `\n${foreign} anchors of other homes were left aside.`;
      show(context, answer, () => `${answer.says}${aside}\nhead ${answer.head}`);
      return answer.isIntact ? 0 : 1;
    },
  },
];

/** A hash that is not whole would look like a tail that was cut. @throws Fault `usage` */
function headOf(context: Context): string | undefined {
  const head = textOption(context, 'head')?.toLowerCase();
  if (head === undefined || /^[0-9a-f]{64}$/.test(head)) return head;
  throw new Fault('usage', { what: `--head expects the 64 hex digits of a head, not "${printable(head, 80)}"` });
}

function filterOf(context: Context) {
  return given({
    vm: textOption(context, 'vm'),
    device: textOption(context, 'device'),
    since: sinceOption(context),
  });
}

/** Asks the daemon; when none runs, reads the trail in this process, if this user may. */
async function verify(context: Context, proof: Params<'audit.verify'>): Promise<AuditVerification> {
  try {
    return await (await context.daemon()).call('audit.verify', proof);
  } catch (error) {
    if (!isFault(error, 'daemon.unreachable')) throw error;
    const { verifyOffline } = await import('../../app/audit-offline.ts');
    const verification = await verifyOffline(proof);
    if (verification === undefined) throw error;
    context.out.tell(`No daemon runs: this is what the file ${verification.file} says.`);
    return verification;
  }
}

/** On a terminal a row is short enough to stand beside the others; elsewhere it is whole. */
function auditColumns({ columns }: Output): readonly Column<AuditView>[] {
  const isShort = columns !== undefined;
  return [
    { title: 'ROW', of: (row) => String(row.row) },
    { title: 'AT', of: (row) => (isShort ? row.at.slice(5, 19) : row.at.slice(0, 23)).replace('T', ' ') },
    { title: 'WHO', of: (row) => `${row.actor.user}(${row.actor.pid})`, yields: { turn: 2, least: 6 } },
    { title: 'WHAT', of: (row) => row.action, yields: { turn: 3, least: 10 } },
    { title: 'VM', of: (row) => row.vm ?? '-', yields: { turn: 2, least: 6 } },
    { title: 'DEVICE', of: (row) => row.device ?? '-', yields: { turn: 2, least: 8 } },
    {
      title: 'OUTCOME',
      of: (row) => (row.kind === 'intent' ? 'begins' : `${row.outcome} (of ${row.intent})`),
      yields: { turn: 3, least: 7 },
    },
    { title: 'DETAILS', of: detailsOf, yields: { turn: 1, least: 7 } },
  ];
}

function detailsOf({ details, because, before, after }: AuditView): string {
  return printableJson(JSON.stringify({ ...details, because, before, after }));
}
