/** Looks at domains for whoever asks, many at once: single questions go out singly, a crowd is one list. */
import type { Domain, Driver } from '../hypervisor/driver.ts';
import type { VmUuid } from '../model/ids.ts';

/** From so many questions of one moment on, the whole list is cheaper than as many single looks. */
const CROWD = 8;

interface Question {
  readonly uuid: VmUuid;
  readonly resolve: (domain: Domain | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * INVARIANTS: a question is answered by a look that began after it was asked; questions of the same moment share a look.
 */
export class Sightings {
  readonly #asked = new Map<Driver, Question[]>();

  /** Gives the VM's domain as the driver sees it now. */
  observe(driver: Driver, uuid: VmUuid): Promise<Domain | undefined> {
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

  #look(driver: Driver): void {
    const questions = this.#asked.get(driver) ?? [];
    this.#asked.delete(driver);
    if (questions.length < CROWD) {
      for (const { uuid, resolve, reject } of questions) driver.find(uuid).then(resolve, reject);
      return;
    }
    driver.list().then(
      (domains) => {
        const byUuid = new Map(domains.map((domain) => [domain.uuid, domain]));
        for (const { uuid, resolve } of questions) resolve(byUuid.get(uuid));
      },
      (error: unknown) => {
        for (const { reject } of questions) reject(error);
      },
    );
  }
}
