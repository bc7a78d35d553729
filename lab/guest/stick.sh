#!/bin/sh
# Tells the checksums of what is on a stick: of each file at its root, or of the whole disk when it has no file system.
# stick.sh sda. Read-only, and unmounted afterwards: a stick that is pulled out leaves nothing behind.
disk=$1
place=$(readlink -f "/sys/block/$disk")
port=${place%%:1.*}
port=${port##*/}
read -r sectors < "/sys/block/$disk/size"
mkdir -p "/run/$disk"

sum() {
  sum=$(sha256sum < "$1" 2> /dev/null) && echo "sha256=${sum%% *}" || echo failed
}

while [ ! -e /run/file-systems ]; do sleep 0.05; done # A stick may be there before its file system's module is.
for kind in ext4 vfat none; do
  [ $kind = none ] || mount -t $kind -o ro "/dev/$disk" "/run/$disk" 2> /dev/null && break
done
if [ $kind = none ]; then
  echo "USHER-GUEST disk $disk $(sum "/dev/$disk") bytes=$((sectors * 512)) port=$port"
  exit
fi
count=0
for file in "/run/$disk"/*; do
  [ -f "$file" ] || continue
  name=$(NAME=${file##*/} awk -f /lib/usher/encode.awk -e 'BEGIN { print encode(ENVIRON["NAME"]) }')
  echo "USHER-GUEST file $disk $name $(sum "$file") bytes=$(stat -c %s "$file")"
  count=$((count + 1))
done
umount -l "/run/$disk"
echo "USHER-GUEST stick $disk fs=$kind files=$count port=$port"
