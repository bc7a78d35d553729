/** The commands about Usher itself: events, audit, doctor, service, completion. */

import type { DoctorReport } from '../../api/views.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { printableJson } from '../../lib/text.ts';
import type { UsherEvent } from '../../model/event.ts';
import type { CommandSpec, Context } from '../command.ts';
import { completionScript, SHELLS } from '../completion.ts';
import { given, numberOption, show, textOption, word } from '../values.ts';
import { AUDIT_COMMANDS } from './audit.ts';

export const SYSTEM_COMMANDS: readonly CommandSpec[] = [
  {
    verb: 'events',
    about: { operation: 'events.follow' },
    options: [
      { flags: '--since <number>', doc: 'begin after the event of that number; 0: with the oldest that is kept' },
      { flags: '--once', doc: 'do not wait for more' },
      { flags: '--vm <vm>', doc: 'only what is about this VM' },
    ],
    examples: ['usher events', 'usher events --since 1200 --json     # go on where you stopped, one JSON a line'],
    async run(context) {
      const client = await context.daemon();
      const isOnce = context.options['once'] === true;
      const since = numberOption(context, 'since') ?? (isOnce ? 0 : undefined);
      const params = given({ since, isOnce, vm: textOption(context, 'vm') });
      await client.call('events.follow', params, (notice) => {
        const { event } = notice as { event: UsherEvent };
        context.out.print(context.isJson ? printableJson(JSON.stringify(event)) : eventLine(event));
      });
      if (isOnce) return undefined;
      await client.closed();
      throw new Fault('daemon.unreachable', { socket: 'its socket any more' }, { hint: 'The daemon has stopped.' });
    },
  },
  ...AUDIT_COMMANDS,
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
    options: [
      { flags: '--print', doc: 'only print the unit' },
      {
        flags: '--unprivileged',
        doc: 'run it as the user "usher", who is made, with a udev rule for devices; for QEMU alone',
      },
    ],
    examples: ['usher service install', 'usher service install --unprivileged --print'],
    run: async (context) =>
      (await service()).installService(context.out, {
        isPrintOnly: context.options['print'] === true,
        isUnprivileged: context.options['unprivileged'] === true,
      }),
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

/** Asks the daemon; when none answers, or not to this user, looks at the host in this process and says so. */
async function diagnose(context: Context): Promise<DoctorReport> {
  try {
    return await (await context.daemon()).call('doctor', {});
  } catch (error) {
    if (!isFault(error, 'daemon.unreachable', 'denied')) throw error;
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
