/** Patterns in which `*` stands for any run of characters: matching, and what one pattern says of another. Nothing else is special. */

/** Tells whether the pattern matches the whole text, in time linear in the text for each star. */
export function matchesGlob(pattern: string, text: string): boolean {
  return compileGlob(pattern)(text);
}

/** Makes a function that does what {@link matchesGlob} does with this pattern. */
export function compileGlob(pattern: string): (text: string) => boolean {
  const parts = pattern.split('*');
  if (parts.length === 1) return (text) => text === pattern;
  if (parts.every((part) => part === '')) return () => true;
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  const between = parts.slice(1, -1).filter((part) => part !== '');
  return (text) => {
    const end = text.length - last.length;
    if (end < first.length || !text.startsWith(first) || !text.endsWith(last)) return false;
    let at = first.length;
    for (const part of between) {
      const found = text.indexOf(part, at);
      if (found === -1) return false;
      at = found + part.length;
    }
    return at <= end;
  };
}

/** Tells whether `wide` matches every text that `narrow` matches. */
export function globCovers(wide: string, narrow: string): boolean {
  // A star of `narrow` is a letter that no letter of `wide` equals: only a star of `wide` can take it in.
  return matchesGlob(wide, narrow);
}

/** Tells whether it is sure that no text matches both; false may also mean that it is not known. */
export function areGlobsDisjoint(a: string, b: string): boolean {
  if (!a.includes('*')) return !matchesGlob(b, a);
  if (!b.includes('*')) return !matchesGlob(a, b);
  const clash = (one: string, other: string) => !one.startsWith(other) && !other.startsWith(one);
  return clash(head(a), head(b)) || clash(reversedTail(a), reversedTail(b));
}

function head(pattern: string): string {
  return pattern.slice(0, pattern.indexOf('*'));
}

function reversedTail(pattern: string): string {
  return [...pattern.slice(pattern.lastIndexOf('*') + 1)].reverse().join('');
}
