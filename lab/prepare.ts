// Builds everything that tests and demo need and that is not in the cache yet; silent when all is there.
import { guestImage } from './guest.ts';
import { hostSnapshot } from './host.ts';

await guestImage();
await hostSnapshot();
