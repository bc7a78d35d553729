/** The commands about Usher itself: events, audit, doctor, service, completion. */

import type { AuditView, DoctorReport } from '../../api/views.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { printableJson } from '../../lib/text.ts';
import type { UsherEvent } from '../../model/event.ts';
import type { CommandSpec, Context, Output } from '../command.ts';
import { completionScript, SHELLS } from '../completion.ts';
import { type Column, table } from '../print.ts';
import { given, numberOption, show, textOption, word } from '../values.ts';

export const SYSTEM_COMMANDS: readonly CommandSpec[] = [
  {
    verb: 'events',
    about: { operation: 'events.follow' },
    options: [
      { flags: '--since <number>', doc: 'begin after the event of that number; 0: with the oldest that is kept' },
      { flags: '--once', doc: 'do not wait for more' },
    ],
    examples: ['usher events', 'usher events --since 1200 --json     # go on where you stopped, one JSON a line'],
    async run(context) {
      const client = await context.daemon();
      const isOnce = context.options['once'] === true;
      const params = given({ since: numberOption(context, 'since') ?? (isOnce ? 0 : undefined), isOnce });
      await client.call('events.follow', params, (notice) => {
        const { event } = notice as { event: UsherEvent };
        context.out.print(context.isJson ? printableJson(JSON.stringify(event)) : eventLine(event));
      });
      if (isOnce) return undefined;
      await client.closed();
      throw new Fault('daemon.unreachable', { socket: 'its socket any more' }, { hint: 'The daemon has stopped.' });
    },
  },
  {
    noun: 'audit',
    verb: 'list',
    about: { operation: 'audit.list' },
    options: [
      { flags: '--vm <vm>', doc: 'only rows about that VM' },
      { flags: '--device <device>', doc: 'only rows about that device' },
      { flags: '--since <time>', doc: 'only rows from then on: 2026-11-21, 2026-11-21T10:00' },
      { flags: '-n, --limit <number>', doc: 'how many of the last rows (200)' },
    ],
    examples: ['usher audit list --vm work --since 2026-11-21'],
    async run(context) {
      const since = textOption(context, 'since');
      const at = since === undefined ? undefined : Date.parse(since);
      if (Number.isNaN(at)) throw new Fault('usage', { what: `--since expects a date, not "${since}"` });
      const rows = await (await context.daemon()).call('audit.list', {
        ...given({ vm: textOption(context, 'vm'), device: textOption(context, 'device'), since: at }),
        limit: numberOption(context, 'limit') ?? 200,
      });
      return show(context, rows, () => table(rows, auditColumns(context.out), context.out));
    },
  },
  {
    noun: 'audit',
    verb: 'verify',
    about: { operation: 'audit.verify' },
    options: [{ flags: '--head <hash>', doc: 'the hash of a head that you noted before' }],
    examples: ['usher audit verify'],
    async run(context) {
      const answer = await (await context.daemon()).call('audit.verify', given({ head: textOption(context, 'head') }));
      show(context, answer, () => `${answer.says}\nhead ${answer.head}`);
      return answer.isIntact ? 0 : 1;
    },
  },
  {
    verb: 'doctor',
    about: { operation: 'doctor' },
    examples: ['usher doctor'],
    async run(context) {
      const report = await diagnose(context);
      show(context, report, () => report.findings.map(findingLines).join('\n'));
      return report.findings.some((finding) => finding.level === 'error') ? 1 : 0;
    },
  },
  {
    noun: 'service',
    verb: 'install',
    about: { says: 'Makes systemd run the daemon from now on; VMs go on when it stops.' },
    options: [{ flags: '--print', doc: 'only print the unit' }],
    examples: ['usher service install'],
    run: async (context) => (await service()).installService(context.out, context.options['print'] === true),
  },
  {
    noun: 'service',
    verb: 'remove',
    about: { says: 'Stops the daemon and takes its unit away; VMs and the inventory stay.' },
    examples: ['usher service remove'],
    run: async (context) => (await service()).removeService(context.out),
  },
  {
    verb: 'completion',
    about: { says: 'Prints the completion script of a shell.' },
    args: [{ name: 'shell', doc: 'bash, zsh or fish', completion: SHELLS }],
    examples: ['usher completion bash > /etc/bash_completion.d/usher', 'source <(usher completion zsh)'],
    async run(context) {
      context.out.print(completionScript(word(context, 0)));
      return undefined;
    },
  },
];

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
    { title: 'DETAILS', of: (row) => printableJson(JSON.stringify(row.details)), yields: { turn: 1, least: 7 } },
  ];
}

/** Asks the daemon; when none runs, looks at the host in this process and says that none runs. */
async function diagnose(context: Context): Promise<DoctorReport> {
  try {
    return await (await context.daemon()).call('doctor', {});
  } catch (error) {
    if (!isFault(error, 'daemon.unreachable')) throw error;
    const { diagnoseHost } = await import('../../app/doctor.ts');
    const none = {
      level: 'error',
      subject: 'daemon',
      says: error.message,
      ...(error.hint ? { advice: error.hint } : {}),
    } as const;
    return { findings: [none, ...(await diagnoseHost())] };
  }
}

const MARK = { ok: 'ok     ', note: 'note   ', warning: 'warning', error: 'ERROR  ' } as const;

function findingLines(finding: DoctorReport['findings'][number]): string {
  const advice = finding.advice === undefined ? '' : `\n        -> ${finding.advice}`;
  return `${MARK[finding.level]} ${finding.subject}: ${finding.says}${advice}`;
}

function eventLine(event: UsherEvent): string {
  const body = Object.entries(event.body).map(
    ([key, value]) => `${key}=${/\s/.test(String(value)) ? JSON.stringify(value) : value}`,
  );
  return `${event.seq} ${new Date(event.at).toISOString()} ${event.kind} ${body.join(' ')}`;
}

/** What only these two commands need is not loaded for the others. */
function service() {
  return import('../service.ts');
}
