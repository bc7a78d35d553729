/** Looks at domains for whoever asks, many at once: single questions go out singly, a crowd is one list. */
import type { Domain, Driver } from '../hypervisor/driver.ts';
import type { VmUuid } from '../model/ids.ts';

/** Fewer questions of one moment go out singly. */
const CROWD = 8;
/** In a list a domain costs about so much of a single look: below this share of all, single looks are cheaper than the list. */
const SHARE = 1 / 4;

type Sight = Pick<Driver, 'find' | 'list'>;

interface Question {
  readonly uuid: VmUuid;
  readonly resolve: (domain: Domain | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * INVARIANTS: a question is answered by a look that began after it was asked; questions of the same moment share a look.
 */
export class Sightings {
  readonly #asked = new Map<Sight, Question[]>();
  /** How many domains the last list had. */
  readonly #sizes = new WeakMap<Sight, number>();

  /** Gives the VM's domain as the driver sees it now. */
  observe(driver: Sight, uuid: VmUuid): Promise<Domain | undefined> {
    return new Promise((resolve, reject) => {
      const questions = this.#asked.get(driver);
      if (questions === undefined) {
        this.#asked.set(driver, [{ uuid, resolve, reject }]);
        queueMicrotask(() => this.#look(driver));
      } else {
        questions.push({ uuid, resolve, reject });
      }
    });
  }

  #look(driver: Sight): void {
    const questions = this.#asked.get(driver) ?? [];
    this.#asked.delete(driver);
    if (questions.length < Math.max(CROWD, SHARE * (this.#sizes.get(driver) ?? 0))) {
      for (const { uuid, resolve, reject } of questions) driver.find(uuid).then(resolve, reject);
      return;
    }
    driver.list().then(
      (domains) => {
        this.#sizes.set(driver, domains.length);
        const byUuid = new Map(domains.map((domain) => [domain.uuid, domain]));
        for (const { uuid, resolve, reject } of questions) {
          const domain = byUuid.get(uuid);
          // What is not told of it would be taken for what is not there.
          if (domain?.isPartial === true) driver.find(uuid).then(resolve, reject);
          else resolve(domain);
        }
      },
      (error: unknown) => {
        for (const { reject } of questions) reject(error);
      },
    );
  }
}
