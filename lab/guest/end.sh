#!/bin/sh
# Ends the guest, as `poweroff` or `reboot` (its name says which); the kernel calls it by these names too, without a
# console of its own.
[ -t 1 ] || exec > /dev/console
verb=${0##*/}
echo "USHER-GUEST $verb"
sync
exec busybox "$verb" -f
