// Builds everything that tests and demo need and that is not in the cache yet; silent when all is there.
import { guestImage } from './guest.ts';
import { linuxHostSnapshot } from './linux-host.ts';
import { xenHostSnapshot } from './xen-snapshots.ts';
import { xenstoredBuild } from './xenstored.ts';

await guestImage();
await linuxHostSnapshot();
await xenHostSnapshot();
await xenstoredBuild();
