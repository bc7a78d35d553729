/** Quotes for scripts that run in a guest. On this machine no shell is used. */

/** Gives the word as one of a POSIX shell's. */
export function shellWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
