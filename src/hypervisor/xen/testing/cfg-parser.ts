/**
 * Reads xl.cfg as libxlu does (libxlu_cfg.c and its scanner): strings in either quotes with its escapes, lists, numbers,
 * comments. For tests: what a cfg means to xl.
 */
export type ParsedCfg = Record<string, string | number | string[]>;

/** Parses a whole file. @throws Error where libxlu would refuse it */
export function parseCfg(text: string): ParsedCfg {
  const cfg: ParsedCfg = {};
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    const sticky = new RegExp(pattern, 'y');
    sticky.lastIndex = at;
    const [whole] = sticky.exec(text) ?? [];
    if (whole !== undefined) at += whole.length;
    return whole;
  };
  const demand = (pattern: RegExp): string => {
    const found = take(pattern);
    if (found === undefined) throw new Error(`config parsing error near ${JSON.stringify(text.slice(at, at + 20))}`);
    return found;
  };
  const string = () => dequote(demand(/"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*'/));
  const blanks = () => take(/(?:[ \t]|#[^\n]*)*/);
  const space = () => take(/(?:[ \t\n]|#[^\n]*)*/);

  for (space(); at < text.length; space()) {
    const key = demand(/[a-zA-Z_][a-zA-Z0-9_]*/);
    if (key in cfg) throw new Error(`${key} stands twice`);
    blanks();
    demand(/=/);
    blanks();
    if (take(/\[/) !== undefined) {
      const items: string[] = [];
      for (space(); take(/\]/) === undefined; space()) {
        items.push(string());
        space();
        if (take(/,/) !== undefined) continue;
        demand(/\]/);
        break;
      }
      cfg[key] = items;
    } else {
      const number = take(/[0-9]+/);
      cfg[key] = number === undefined ? string() : Number(number);
    }
    blanks();
    if (at < text.length) demand(/[\n;]/);
  }
  return cfg;
}

const ESCAPES: Readonly<Record<string, string>> = {
  ...{ '"': '"', "'": "'", '\\': '\\', a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' },
};

function dequote(quoted: string): string {
  return quoted.slice(1, -1).replaceAll(/\\(.)/gs, (_whole, letter: string) => {
    const meant = ESCAPES[letter];
    if (meant === undefined) throw new Error(`invalid character after backslash: ${letter}`);
    return meant;
  });
}
