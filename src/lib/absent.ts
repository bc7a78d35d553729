/** Objects without the keys whose values are undefined, as exact optional properties want them. */

/** Leaves out what is undefined. */
export function withoutAbsent<T extends object>(parts: T): WithoutAbsent<T> {
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined)) as WithoutAbsent<T>;
}

type Absent<T> = { [K in keyof T]: undefined extends T[K] ? K : never }[keyof T];
export type WithoutAbsent<T> = { [K in Exclude<keyof T, Absent<T>>]: T[K] } & {
  [K in Absent<T>]?: Exclude<T[K], undefined>;
};
