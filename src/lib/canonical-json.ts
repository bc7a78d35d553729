/** JSON with one spelling for each value, so that its hash means something. */

/** Prints a value as JSON does, without blanks and with the members of every object sorted by name (by UTF-16 units). */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) => (isObject(member) ? sorted(member) : member));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function sorted(object: Record<string, unknown>): Record<string, unknown> {
  // Without a prototype, a member named __proto__ is one like others.
  const result = Object.create(null) as Record<string, unknown>;
  for (const name of Object.keys(object).sort()) result[name] = object[name];
  return result;
}
