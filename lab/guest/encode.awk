# encode(text): percent-encodes all but [A-Za-z0-9._-], so that strings of devices and names of files, which anyone may
# have made, can neither break a console line nor forge one.

BEGIN {
  for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i
}

function encode(text,   i, c, out) {
  if (text ~ /^[A-Za-z0-9._-]*$/) return text
  for (i = 1; i <= length(text); i++) {
    c = substr(text, i, 1)
    out = out (c ~ /[A-Za-z0-9._-]/ ? c : sprintf("%%%02X", code[c]))
  }
  return out
}
