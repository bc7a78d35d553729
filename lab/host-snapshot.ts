/** Keeps a kind of host in the cache, built and booted: its disk, its initramfs, and the state to continue from. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached } from './cache.ts';
import { Host, type HostModel } from './host.ts';
import { buildHostImage, type HostImage, hostImageRecipe } from './host-image.ts';

/** What decides how a host boots and is saved, for every kind. */
const OWN_SOURCES = ['host-snapshot.ts', 'host.ts', 'host-control.ts', 'cargo.ts'].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
);

/** Gives the folder of the snapshot (`disk`, `initrd`, `state`), building it first when it is not in the cache. */
export async function hostSnapshot(name: string, image: HostImage, model: HostModel): Promise<string> {
  const recipe = await hostImageRecipe(image);
  return cached(name, { ...recipe, files: [...recipe.files, ...OWN_SOURCES] }, async (folder) => {
    await buildHostImage(image, folder);
    const host = await Host.start(model, { source: folder, isRestored: false, writesSource: true });
    try {
      await host.check('sync');
      await host.save(join(folder, 'state'));
    } finally {
      await host.stop();
    }
  });
}
