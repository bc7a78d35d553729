/** What a mutant is: one small change of one file that switches a cure off, and the test that has to notice. */
export interface Mutant {
  /** `known issue 7`: the row of docs/known-issues.md; or `life of a VM`, `planner`, `audit trail`. */
  readonly breaks: string;
  /** What is switched off, in a few words. */
  readonly off: string;
  readonly file: string;
  /** In the file exactly once. */
  readonly from: string;
  readonly to: string;
  /** Part of the name of the test, or of its suite. */
  readonly test: { readonly file: string; readonly name: string };
  /** It takes a property test more runs than usual. */
  readonly runs?: boolean;
}
