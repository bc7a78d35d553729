/** `--dry-run`: what a command would ask the daemon to change is previewed instead, and that is the end of the command. */
import type { Daemon } from '../api/client.ts';
import type { OperationName, Params, Results } from '../api/operations.ts';
import { isPreviewed } from '../api/previewed.ts';
import type { PreviewView } from '../api/views.ts';

/** Thrown where a command would have gone on after its change. */
export class Previewed {
  readonly view: PreviewView;

  constructor(view: PreviewView) {
    this.view = view;
  }
}

/** Gives a client that asks as the other does, but previews what would change something. @throws Previewed */
export function previewInstead(client: Daemon): Daemon {
  return {
    async call<O extends OperationName>(operation: O, params: Params<O>): Promise<Results[O]> {
      if (!isPreviewed(operation)) return await client.call(operation, params);
      throw new Previewed(await client.call('preview', { operation, params: { ...params } }));
    },
    closed: () => client.closed(),
  };
}
