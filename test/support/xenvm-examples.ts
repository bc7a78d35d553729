/** The two example configs of xenvm's document, with line breaks as they were meant; what they name is to be put in. */

/** A PV guest from a kernel and a disk. The kernel of a test needs an initrd and more memory. */
export function pvExample({
  kernel,
  initrd,
  cmdline,
  disk,
}: {
  readonly kernel: string;
  readonly initrd: string;
  readonly cmdline: string;
  readonly disk: string;
}): string {
  return `uuid = 00000000-0000-0000-0000-000000000001
hvm = false
kernel = ${kernel}
cmdline = ${cmdline} root=/dev/sda1 ro
initrd = ${initrd}
memory = 192
disk = ${disk}:phy:sda:w:disk
vif =
`;
}

/** An HVM guest that is installed from a CD. */
export function hvmExample({ disk, iso }: { readonly disk: string; readonly iso: string }): string {
  return `uuid = 00000000-0000-0000-0000-000000000002
hvm = true
memory = 256
disk = ${disk}:phy:hda:w:disk
disk = ${iso}:file:hdd:r:cdrom
boot = dc
pae = true
acpi = true
apic = true
`;
}
