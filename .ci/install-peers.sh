#!/usr/bin/env bash
# Installs the Debian packages whose programs the tests talk to. Needs root, asks nothing.
set -euo pipefail

packages=(
  libiscsi-bin      # iscsi-ls, iscsi-inq, iscsi-readcapacity16, iscsi-test-cu, iscsi-perf
  qemu-utils        # qemu-img, qemu-io
  qemu-block-extra  # the iscsi:// driver of qemu-img
  e2fsprogs         # mkfs.ext4, e2fsck
  nbdkit            # an NBD server, as qemu-nbd of qemu-utils is
  libnbd-bin        # nbdinfo, nbdcopy
  fio               # verified load through its NBD engine
  xorriso           # ISO images
  strace            # which system calls were made before an acknowledgement
  tgt               # tgtd, for the benchmark
  open-isns-server  # isnsd
  open-isns-utils   # isnsadm

  # The lab: its guest is run by these,
  qemu-system-x86   # the machine
  tshark            # the dissectors that captures are checked with
  # and built by these.
  mmdebstrap
  squashfs-tools-ng # tar2sqfs
  linux-source-6.1  # the source of siw
  linux-headers-amd64
  busybox-static
  cpio
  kmod
  make
  gcc
  xz-utils
)

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "peers: all installed"
  exit 0
fi

echo "peers: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
# tgt's package starts a daemon on port 3260 where there is a service manager, and that of isnsd one on 3205: keep the ports free.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
