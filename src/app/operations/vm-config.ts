/** Operations on the config that a VM is started with next: told, changed beside its file, read again. */
import type { ConfigView } from '../../api/views.ts';
import { printable } from '../../lib/text.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Handlers } from '../dispatch.ts';
import type { Engine } from '../engine.ts';

export type ConfigOperation = 'vm.config' | 'vm.configure' | 'vm.reread';

/** Gives the handlers. */
export function configHandlers({ inventory }: Engine): Pick<Handlers, ConfigOperation> {
  const view = async (uuid: VmUuid, key?: string, warned?: readonly string[]): Promise<ConfigView> => {
    const { settings, warnings } = await inventory.configs.next(uuid, key);
    const escaped = settings.map((setting) => ({ ...setting, value: printable(setting.value, 8192) }));
    return { name: inventory.findVm(uuid).name, uuid, settings: escaped, warnings: warned ?? warnings };
  };
  return {
    'vm.config': ({ vm, key }) => view(inventory.findVm(vm).uuid, key),
    async 'vm.configure'({ vm, key, value, isAdded = false }) {
      const { uuid } = inventory.findVm(vm);
      const warnings = await inventory.configs.change(uuid, { key, value, isAdded });
      return await view(uuid, key, warnings);
    },
    async 'vm.reread'({ vm, path }) {
      const { uuid } = inventory.findVm(vm);
      return await view(uuid, undefined, await inventory.configs.reread(uuid, path));
    },
  };
}
