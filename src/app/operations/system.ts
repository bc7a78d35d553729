/** The operations about Usher itself: hello, doctor, events, audit. */
import type { OperationName } from '../../api/operations.ts';
import { PROTOCOL } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import type { UsherEvent } from '../../model/event.ts';
import { deviceKey, parseDeviceRef } from '../../model/usb.ts';
import { verifyTrail } from '../audit-proof.ts';
import { type Handlers, knownOperation, validParams } from '../dispatch.ts';
import { diagnose } from '../doctor.ts';
import type { Engine } from '../engine.ts';
import { preview, previews } from '../preview.ts';

type SystemHandlers = Pick<
  Handlers,
  'hello' | 'doctor' | 'preview' | Extract<OperationName, `${'events' | 'audit'}.${string}`>
>;

/** Gives the handlers of what is neither of a VM nor of a device. */
export function systemHandlers(engine: Engine): SystemHandlers {
  const { audit, events, inventory, places, version } = engine;
  const table = previews(engine);
  return {
    async hello({ client, protocol }) {
      if (protocol !== PROTOCOL) {
        const what = protocol < PROTOCOL ? 'the client is older' : 'the daemon is older';
        const hint = 'Install one version of both, then restart the daemon; VMs go on meanwhile.';
        throw new Fault(
          'rpc.version',
          { client: `${client} (protocol ${protocol})`, server: `usherd ${version} (protocol ${PROTOCOL})`, what },
          { hint },
        );
      }
      return { version, protocol: PROTOCOL, pid: process.pid, home: places.home };
    },
    async doctor() {
      return { findings: await diagnose(engine) };
    },
    async preview({ operation, params }, { signal }) {
      const known = knownOperation(operation);
      return await preview(table, known, validParams(known, params), signal);
    },
    async 'events.follow'({ since, isOnce = false, vm }, { notify, signal }) {
      const uuid = vm === undefined ? undefined : inventory.findVm(vm).uuid;
      const send = (event: UsherEvent) => {
        if (uuid === undefined || ('vm' in event.body && event.body.vm === uuid)) notify('event', { event });
      };
      const seq = events.head;
      if (isOnce) for (const event of events.since(since ?? 0)) send(event);
      else {
        const stop = events.subscribe(send, since);
        signal.addEventListener('abort', stop, { once: true });
      }
      return { seq };
    },
    async 'audit.list'({ vm, device, since, after, limit }) {
      const rows = audit.list({
        ...(vm === undefined ? {} : { vm: namesOf(vm) }),
        ...(device === undefined ? {} : { device: deviceKey(parseDeviceRef(device)) }),
        ...(since === undefined ? {} : { since }),
        ...(after === undefined ? {} : { after }),
        ...(limit === undefined ? {} : { limit }),
      });
      return rows.map((row) => ({ ...row, at: new Date(row.at).toISOString() }));
    },
    'audit.verify': (proof) => verifyTrail(audit, proof, places.home),
  };

  /** A VM stands in the trail by whichever name the actor used. */
  function namesOf(ref: string): readonly string[] {
    try {
      const { uuid, name } = inventory.findVm(ref);
      return [uuid, name];
    } catch {
      return [ref]; // It may have been removed since.
    }
  }
}
