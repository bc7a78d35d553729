/**
 * The policy that the daemon goes by. It is read from its file at the start and when somebody says so; a file that cannot
 * be taken leaves the one before in its place, also over a restart of the daemon.
 */
import { createHash } from 'node:crypto';
import { configFault, formatDiagnostic } from '../config/diagnostics.ts';
import type { Inventory } from '../inventory/inventory.ts';
import { errnoOf, Fault, isFault, messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import { readRegularText } from '../lib/regular-file.ts';
import type { AuditState, AuditTrail } from '../model/audit.ts';
import { EMPTY_POLICY, type Policy } from '../model/policy.ts';
import { USHER } from './steps.ts';

export interface PolicyKeeperOptions {
  readonly file: string;
  readonly inventory: Pick<Inventory, 'listVms' | 'readNote' | 'writeNote'>;
  readonly audit: AuditTrail;
  readonly log: Log;
  /** Called when another policy holds. */
  readonly onChange: () => void;
}

/** A policy with its text; without a text there is no file. */
export interface HeldPolicy {
  readonly policy: Policy;
  readonly text?: string;
  readonly warnings: readonly string[];
}

/** What is longer than this is not even read; the parser has a limit of its own. */
const MAX_BYTES = 2 * 1024 * 1024;
const NO_POLICY: HeldPolicy = { policy: EMPTY_POLICY, warnings: [] };
/** The text of the policy that holds, for the next daemon; empty for none. */
const TEXT_NOTE = 'policy';
/** The digest of a text that was tried and not confirmed: it is not taken from the file at a start. */
const REJECTED_NOTE = 'policy.rejected';

/** INVARIANTS: what holds was parsed without an error, its own expectations among them; its text is in the note. */
export class PolicyKeeper {
  readonly #options: PolicyKeeperOptions;
  #held: HeldPolicy = NO_POLICY;
  #problem: string | undefined;

  constructor(options: PolicyKeeperOptions) {
    this.#options = options;
  }

  get policy(): Policy {
    return this.#held.policy;
  }

  get held(): HeldPolicy {
    return this.#held;
  }

  get file(): string {
    return this.#options.file;
  }

  /** Why the file is not what holds; `undefined` when it is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Takes the file, or else what held when the daemon last ran. Never throws for a file that is bad. */
  async open(): Promise<void> {
    const { inventory, log, file } = this.#options;
    try {
      const text = await this.#read();
      if (text !== undefined && digestOf(text) === inventory.readNote(REJECTED_NOTE)) {
        throw new Fault('config.invalid', { what: `${file} was tried before and not confirmed: usher policy load` });
      }
      this.#takeAtStart(text === undefined ? NO_POLICY : await this.parse(text));
    } catch (error) {
      if (!isFault(error)) throw error;
      this.#problem = error.message;
      const before = inventory.readNote(TEXT_NOTE) ?? '';
      log.error('The policy file cannot be taken; what held before holds on', { what: error.message });
      this.#held = before === '' ? NO_POLICY : await this.parse(before).catch(() => NO_POLICY);
    }
  }

  /** Takes the file as it is now. @throws Fault `config.invalid` with every error, `file.unreadable`: nothing has changed */
  async load(): Promise<HeldPolicy> {
    try {
      this.#hold(await this.parseFile());
      return this.#held;
    } catch (error) {
      if (isFault(error)) this.#problem = error.message;
      throw error;
    }
  }

  /** Parses the file as it is now, and takes nothing. @throws Fault as `load` does */
  async parseFile(): Promise<HeldPolicy> {
    const text = await this.#read();
    return text === undefined ? NO_POLICY : await this.parse(text);
  }

  /** Tells of the policy that holds what the audit trail is to have of it. */
  state(): AuditState {
    return stateOf(this.#held);
  }

  /** Goes back to a policy that held before; the file that is there now is not taken at a start. Gives what holds then. */
  async goBack(text: string): Promise<AuditState> {
    const { inventory, file } = this.#options;
    const tried = this.#held.text;
    if (tried !== undefined) inventory.writeNote(REJECTED_NOTE, digestOf(tried));
    const held = text === '' ? NO_POLICY : await this.parse(text);
    this.#held = held;
    inventory.writeNote(TEXT_NOTE, text);
    this.#problem = `${file} was tried and not confirmed`;
    this.#options.onChange();
    return this.state();
  }

  /** Parses a text as if it were the file's. @throws Fault `config.invalid` */
  async parse(text: string): Promise<HeldPolicy> {
    // Most daemons have no policy: the YAML library is loaded only for one that is there.
    const { parsePolicy } = await import('../config/policy-file.ts');
    const names = new Set(this.#options.inventory.listVms().map(({ name }) => name));
    const { policy, errors, warnings } = parsePolicy(text, this.#options.file, names);
    if (policy === undefined) throw configFault(errors);
    return { policy, text, warnings: warnings.map(formatDiagnostic) };
  }

  /** Takes the file; when it has changed since a daemon last ran, nobody has said so to us, and the trail has to. */
  #takeAtStart(held: HeldPolicy): void {
    const { inventory, audit } = this.#options;
    const before = inventory.readNote(TEXT_NOTE) ?? '';
    if ((held.text ?? '') === before) {
      this.#hold(held);
      return;
    }
    const because = { by: 'start', says: 'the policy file is not what held when the daemon last ran' };
    const told = { actor: USHER, action: 'policy.load', because, before: { sha256: digestOf(before) } };
    const intent = audit.intend(told);
    this.#hold(held);
    audit.conclude(intent, 'ok', undefined, stateOf(held));
  }

  #hold(held: HeldPolicy): void {
    const { inventory, onChange, log } = this.#options;
    this.#held = held;
    this.#problem = undefined;
    inventory.writeNote(TEXT_NOTE, held.text ?? '');
    inventory.writeNote(REJECTED_NOTE, '');
    for (const warning of held.warnings) log.warn(warning);
    onChange();
  }

  async #read(): Promise<string | undefined> {
    const { file } = this.#options;
    try {
      return await readRegularText(file, MAX_BYTES);
    } catch (error) {
      if (isFault(error)) throw error;
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw new Fault('file.unreadable', { file, what: messageOf(error) }, { cause: error });
    }
  }
}

function stateOf({ policy, text = '' }: HeldPolicy): AuditState {
  return { sha256: digestOf(text), mode: policy.mode, rules: policy.rules.length };
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
