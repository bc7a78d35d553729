/** Domains that come and go, and what they may do. Most of it needs domains at the test's command. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isXenstoreError } from '../../src/wire/xenstore/error.ts';
import { decodeNumber, decodeOk, decodeText } from '../../src/wire/xenstore/payloads.ts';
import type { Question } from '../../src/wire/xenstore/requests.ts';
import { XenstoreSession } from '../../src/wire/xenstore/session.ts';
import { type Context, eventually, Told } from './context.ts';
import type { Domains } from './rig.ts';

/** No test makes a domain of this number. */
const STRANGER = 60_000;

const QUOTA = /^(ENOSPC|E2BIG|EQUOTA)$/;

const read = (path: string): Question<string> => ({ name: 'READ', path, decode: decodeText });
const write = (path: string, value: string): Question<true> => ({ name: 'WRITE', path, value, decode: decodeOk });
const refusedWith =
  (...errnos: Parameters<typeof isXenstoreError>[1][]) =>
  (error: unknown) =>
    isXenstoreError(error, ...errnos);

export function testDomains(current: () => Context): void {
  let lastDomid = 0;

  /** Makes a domain with a home of its own, as a toolstack does. */
  async function makeDomain(t: TestContext, domains: Domains): Promise<{ domid: number; home: string }> {
    const { client } = current();
    const domid = ++lastDomid;
    const home = `/local/domain/${domid}`;
    await domains.make(domid);
    await client.introduce(domid, 1n, 1);
    await client.mkdir(home);
    await client.setPermissions(home, [{ domid, access: 'none' }]);
    t.after(async () => {
      await domains.end(domid, { isGone: true });
      await eventually('The end of the domain', async () => !(await client.isDomainIntroduced(domid)) || undefined);
      await client.rm(home);
    });
    return { domid, home };
  }

  async function inDomain(t: TestContext, domains: Domains, domid: number): Promise<XenstoreSession> {
    const session = await XenstoreSession.open(domains.connect(domid), { peer: `domain ${domid}` });
    t.after(() => session.close());
    return session;
  }

  /** Registers a test that needs domains. */
  function domainTest(name: string, run: (t: TestContext, domains: Domains) => Promise<void>): void {
    test(name, async (t) => {
      const { domains } = current().rig;
      if (domains === undefined) t.skip('no domains can be made here');
      else await run(t, domains);
    });
  }

  test('knows the homes of domains', async () => {
    const { client } = current();
    assert.equal(await client.getDomainPath(0), '/local/domain/0');
    assert.equal(await client.getDomainPath(STRANGER), `/local/domain/${STRANGER}`);
  });

  test('knows who was introduced', async () => {
    const { client } = current();
    assert.equal(await client.isDomainIntroduced(0), true);
    assert.equal(await client.isDomainIntroduced(STRANGER), false);
  });

  test('refuses what is asked about a domain that is not there', async () => {
    const { client } = current();
    for (const ask of [
      () => client.release(STRANGER),
      () => client.resume(STRANGER),
      () => client.setTarget(STRANGER, STRANGER - 1),
      () => client.introduce(STRANGER, 1n, 1),
    ])
      await assert.rejects(ask(), refusedWith());
  });

  domainTest('tells of a domain that comes, shuts down and goes', async (t, domains) => {
    const { client } = current();
    const [come, gone] = [new Told(), new Told()];
    for (const [path, told] of [
      ['@introduceDomain', come],
      ['@releaseDomain', gone],
    ] as const) {
      const watch = await client.watch(path, told.take);
      t.after(() => watch.close());
      await told.of(path);
      told.forget();
    }
    const { domid } = await makeDomain(t, domains);
    await come.of('@introduceDomain');
    assert.equal(await client.isDomainIntroduced(domid), true);
    await domains.end(domid, { isGone: false });
    await gone.of('@releaseDomain');
    assert.equal(await client.isDomainIntroduced(domid), true, 'a domain that has shut down is there still');
    gone.forget();
    await client.resume(domid);
    await domains.end(domid, { isGone: true });
    await gone.of('@releaseDomain');
    await eventually('The end', async () => !(await client.isDomainIntroduced(domid)) || undefined);
  });

  domainTest('releases a domain when told to', async (t, domains) => {
    const { client } = current();
    const { domid } = await makeDomain(t, domains);
    await client.release(domid);
    assert.equal(await client.isDomainIntroduced(domid), false);
  });

  domainTest('lets a domain do as it likes at home, and nowhere else', async (t, domains) => {
    const { client } = current();
    const { domid, home } = await makeDomain(t, domains);
    const session = await inDomain(t, domains, domid);
    assert.equal(await session.request(write('data/note', 'mine')), true);
    assert.equal(await client.read(`${home}/data/note`), 'mine');
    assert.deepEqual(await client.getPermissions(`${home}/data/note`), [{ domid, access: 'none' }]);

    const secret = current().place();
    await client.write(secret, 'secret');
    for (const path of [secret, '/local/domain/0', `${secret}/none`]) {
      // The OCaml daemon lets on what is missing where one may not look.
      const errnos = path === `${secret}/none` ? (['EACCES', 'ENOENT'] as const) : (['EACCES'] as const);
      await assert.rejects(session.request(read(path)), refusedWith(...errnos), path);
      await assert.rejects(session.request(write(path, 'x')), refusedWith('EACCES'), path);
    }
    await assert.rejects(
      session.request({ name: 'SET_PERMS', path: secret, text: `n${domid}\0`, decode: decodeOk }),
      refusedWith('EACCES'),
    );
    await assert.rejects(session.request({ name: 'RM', path: secret, decode: decodeOk }), refusedWith('EACCES'));
    assert.equal(await client.read(secret), 'secret');
  });

  domainTest('lets a domain do elsewhere what permissions say', async (t, domains) => {
    const { client } = current();
    const { domid } = await makeDomain(t, domains);
    const session = await inDomain(t, domains, domid);
    const path = current().place();
    await client.write(path, '1');
    const allow = (access: 'none' | 'read' | 'write' | 'both', other: 'none' | 'read') =>
      client.setPermissions(path, [
        { domid: 0, access: other },
        { domid, access },
      ]);
    const canRead = () => session.request(read(path)).then(() => true, refusedWith('EACCES'));
    for (const [access, reads, writes] of [
      ['none', false, false],
      ['read', true, false],
      ['write', false, true],
      ['both', true, true],
    ] as const) {
      await allow(access, 'read');
      const got = await session.request(read(path)).catch((error: unknown) => refusedWith('EACCES')(error) && false);
      const put = await session
        .request(write(path, '2'))
        .catch((error: unknown) => refusedWith('EACCES')(error) && false);
      assert.deepEqual([got !== false, put], [reads, writes], access);
    }
    await client.setPermissions(path, [{ domid: 0, access: 'read' }]);
    assert.equal(await canRead(), true, 'the first entry is for everybody');
  });

  domainTest('names any domains in permissions, that are there', async (t, domains) => {
    const { client, rig } = current();
    const [one, other] = [await makeDomain(t, domains), await makeDomain(t, domains)];
    const path = current().place();
    const permissions = [
      { domid: one.domid, access: 'none' },
      { domid: other.domid, access: 'read' },
      { domid: 0, access: 'write' },
      { domid: one.domid, access: 'both' },
    ] as const;
    await client.mkdir(path);
    await client.setPermissions(path, permissions);
    assert.deepEqual(await client.getPermissions(path), permissions);
    await client.write(`${path}/a/b`, '1');
    assert.deepEqual(await client.getPermissions(`${path}/a/b`), permissions, 'new nodes have those of their parent');
    const strange = client.setPermissions(path, [{ domid: STRANGER, access: 'none' }]);
    if (rig.can.ownerMayBeGone) await strange;
    else await assert.rejects(strange, refusedWith('ENOENT'));
  });

  domainTest('removes, or keeps, the nodes of a domain that goes, and tells of that first', async (t, domains) => {
    const { client, rig } = current();
    const { domid, home } = await makeDomain(t, domains);
    const path = current().place();
    await client.write(`${path}/theirs/ours`, '1');
    await client.write(`${path}/ours`, '1');
    await client.setPermissions(`${path}/theirs`, [{ domid, access: 'none' }]);
    await client.setPermissions(`${path}/ours`, [
      { domid: 0, access: 'none' },
      { domid, access: 'both' },
    ]);
    const told = new Told();
    for (const place of [path, '@releaseDomain']) {
      const watch = await client.watch(place, told.take);
      t.after(() => watch.close());
      await told.of(place);
    }
    told.forget();
    await domains.end(domid, { isGone: true });
    await told.of('@releaseDomain');
    if (rig.can.removesNodesOfDomains) {
      assert.ok(told.paths.indexOf(`${path}/theirs`) < told.paths.indexOf('@releaseDomain'), `${told.paths}`);
      assert.deepEqual(await client.directory(path), ['ours']);
      assert.equal(await client.exists(home), false);
    } else {
      assert.deepEqual((await client.directory(path))?.sort(), ['ours', 'theirs']);
      assert.equal(await client.exists(home), true);
    }
  });

  domainTest('tells a domain of what it may read, and of nothing else', async (t, domains) => {
    const { client } = current();
    const { domid, home } = await makeDomain(t, domains);
    const events: string[] = [];
    const session = await XenstoreSession.open(domains.connect(domid), {
      peer: `domain ${domid}`,
      onEvent: ({ path }) => events.push(path),
    });
    t.after(() => session.close());
    const secret = current().place();
    for (const path of [secret, 'device'])
      await session
        .request({ name: 'WATCH', path, text: 't\0', decode: decodeOk })
        .catch((error: unknown) => assert.ok(isXenstoreError(error, 'EACCES')));
    await client.write(secret, '1');
    await client.write(`${home}/device/vif`, '1');
    await eventually('Word of its own', () => events.includes('device/vif') || undefined);
    assert.ok(events.filter((path) => path.startsWith(secret)).length <= 1, 'the first one comes in any case');
  });

  domainTest('holds a domain to its quotas', async (t, domains) => {
    const { domid } = await makeDomain(t, domains);
    const session = await inDomain(t, domains, domid);
    const refusalOf = async (question: (i: number) => Question<unknown>, limit: number) => {
      for (let i = 0; i < limit; i++) {
        const error = await session.request(question(i)).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        if (error !== undefined) return isXenstoreError(error) ? error.errno : String(error);
      }
      return `none after ${limit}`;
    };
    const long = await refusalOf(() => write('long', 'x'.repeat(2100)), 1);
    assert.match(long, QUOTA);
    const watches = await refusalOf((i) => ({ name: 'WATCH', path: `w${i}`, text: 't\0', decode: decodeOk }), 1000);
    assert.match(watches, QUOTA);
    const transactions = await refusalOf(() => ({ name: 'TRANSACTION_START', text: '\0', decode: decodeNumber }), 100);
    assert.match(transactions, QUOTA);
    // In C the names of the children count as part of a node, in OCaml the nodes are counted.
    const names = await refusalOf((i) => write(`n/${`${i}`.padEnd(200, '-')}`, ''), 1100);
    assert.match(names, QUOTA);
    assert.equal(await current().client.isDomainIntroduced(domid), true);
  });

  domainTest('gives a stubdom the rights of its guest', async (t, domains) => {
    const { client } = current();
    // In this order they also end: a guest does not go while its stubdom is there.
    const stubdom = await makeDomain(t, domains);
    const guest = await makeDomain(t, domains);
    const session = await inDomain(t, domains, stubdom.domid);
    await client.write(`${guest.home}/a`, '1');
    await assert.rejects(session.request(read(`${guest.home}/a`)), refusedWith('EACCES'));
    await client.setTarget(stubdom.domid, guest.domid);
    assert.equal(await session.request(read(`${guest.home}/a`)), '1');
    assert.equal(await session.request(write(`${guest.home}/a`, '2')), true);
  });

  domainTest('lets only dom0 introduce and release', async (t, domains) => {
    const { domid } = await makeDomain(t, domains);
    const session = await inDomain(t, domains, domid);
    for (const [name, text] of [
      ['INTRODUCE', `${domid}\x001\x001\0`],
      ['RELEASE', `${domid}\0`],
      ['RESUME', `${domid}\0`],
      ['SET_TARGET', `${domid}\x000\0`],
    ] as const)
      await assert.rejects(session.request({ name, text, decode: decodeOk }), refusedWith('EACCES', 'EPERM'), name);
  });
}
