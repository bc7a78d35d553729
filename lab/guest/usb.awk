# Tells each arrival and departure of a USB device from the kernel's log, as records of /dev/kmsg come in; or, given
# `-v ports="1-1 2-1"`, tells what is at these ports. One long-lived process: nothing is forked between a kernel's report
# and our line. Strings of devices are percent-encoded, so they can neither break a line nor forge one.

BEGIN {
  if (ports != "") {
    count = split(ports, list, " ")
    for (i = 1; i <= count; i++) say("usb= " list[i] describe(list[i]))
    exit
  }
}

# `priority,sequence,microseconds,flags;text`. After an overrun the log is read again from its start.
/^[0-9]+,[0-9]+,[0-9]+,[^;]*;/ {
  split($0, head, ",")
  if (head[2] + 0 <= last && last != "") next
  last = head[2] + 0
  at = sprintf(" at=%.6f", head[3] / 1000000)
  text = substr($0, index($0, ";") + 1)
  if (text ~ /^usb [0-9]+-[0-9.]+: New USB device found, idVendor=/) {
    port = portOf(text)
    # The log is written just before the device is registered: an instant later its attributes are there.
    for (tries = 0; tries < 20000 && attribute(port, "devnum") == ""; tries++);
    if (attribute(port, "devnum") == "") next
    known[port] = 1
    say("usb+ " port describe(port) at)
  } else if (text ~ /^usb [0-9]+-[0-9.]+: USB disconnect, device number/) {
    port = portOf(text)
    if (port in known) say("usb- " port at)
    delete known[port]
  } else if (text ~ /^sd [0-9:]+ \[sd[a-z]+\] Attached SCSI/) {
    match(text, /\[sd[a-z]+\]/)
    system("stick.sh " substr(text, RSTART + 1, RLENGTH - 2) " &")
  }
}

function say(words) {
  print "USHER-GUEST " words
  fflush()
}

function portOf(text) {
  return substr(text, 5, index(text, ": ") - 5)
}

function describe(port) {
  return " " attribute(port, "idVendor") ":" attribute(port, "idProduct") " serial=" encode(attribute(port, "serial")) \
    " product=" encode(attribute(port, "product")) " devnum=" attribute(port, "devnum") \
    " speed=" attribute(port, "speed")
}

function attribute(port, name,   path, line, value, separator) {
  path = "/sys/bus/usb/devices/" port "/" name
  while ((getline line < path) > 0) {
    value = value separator line
    separator = "\n"
  }
  close(path)
  return value
}
