# Bootable CDs and disks, made without root and without mounting anything. Sourced by scripts/guests.

sector=512
partition_lba=2048 # where the one partition of a disk starts: 1 MiB, which leaves room for GRUB's core image

# xorriso, GRUB's tools and mtools run from where they were unpacked, with the libraries of their packages.
run_xorriso() {
    local libraries=""
    for package in libisoburn1 libisofs6 libburn4 libjte2 libreadline8; do
        libraries+=$(package "$package")/usr/lib/x86_64-linux-gnu:$(package "$package")/lib/x86_64-linux-gnu:
    done
    LD_LIBRARY_PATH=$libraries SOURCE_DATE_EPOCH=315532800 "$(package xorriso)/usr/bin/xorriso" "$@"
}
run_grub_mkimage() {
    LD_LIBRARY_PATH=$(package libdevmapper1.02.1)/lib/x86_64-linux-gnu:$(package libdevmapper1.02.1)/usr/lib/x86_64-linux-gnu \
        "$(package grub-common)/usr/bin/grub-mkimage" -d "$(grub_modules)" "$@"
}
grub_modules() { echo "$(package grub-pc-bin)/usr/lib/grub/i386-pc"; }
mtool() { MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1 "$(package mtools)/usr/bin/mtools" -c "$@"; }

# make_iso FILE FOLDER BOOT_IMAGE: an ISO 9660 with an El Torito boot image that is not emulated as a floppy. The
# boot-info table tells the loader where on the CD it is.
make_iso() {
    run_xorriso -as mkisofs -quiet -o "$1" -R -J -V LABCTL -b "$3" -c boot/boot.cat \
        -no-emul-boot -boot-load-size 4 -boot-info-table "$2" 2> "$1.log" || { cat "$1.log" >&2; return 1; }
    rm -f "$1.log"
}

# boot_folder FOLDER INITRD: /boot with the cloud kernel (it unpacks fastest) and an initrd.
boot_folder() {
    mkdir -p "$1/boot"
    cp "$(make_guest kernel-cloud-amd64)" "$1/boot/vmlinuz"
    cp "$(make_guest "$2")" "$1/boot/initrd.gz"
}

make_isolinux_cd() { make_isolinux "$1" initrd-small-amd64 poweroff; }
make_bench_cd() { make_isolinux "$1" initrd-bench-amd64 bench; }

make_isolinux() { # FILE INITRD LABTEST
    local tree=$1.tree
    rm -rf "$tree" && boot_folder "$tree" "$2"
    mkdir "$tree/isolinux"
    cp "$(package isolinux)/usr/lib/ISOLINUX/isolinux.bin" "$(syslinux_modules)/ldlinux.c32" "$tree/isolinux/"
    sed "s/@LABTEST@/$3/" "$files/isolinux.cfg" > "$tree/isolinux/isolinux.cfg"
    make_iso "$1" "$tree" isolinux/isolinux.bin
    rm -rf "$tree"
}

make_grub_rescue_cd() { cp "$(package grub-rescue-pc)/usr/lib/grub-rescue/grub-rescue-cdrom.iso" "$1"; }

make_grub_cd() {
    local tree=$1.tree
    rm -rf "$tree" && boot_folder "$tree" initrd-small-amd64
    mkdir "$tree/boot/grub"
    sed 's/@LABTEST@/poweroff/' "$files/grub.cfg" > "$tree/boot/grub/grub.cfg"
    run_grub_mkimage -O i386-pc-eltorito -p /boot/grub -o "$tree/boot/grub/eltorito.img" \
        biosdisk iso9660 normal linux serial terminal echo minicmd reboot halt
    make_iso "$1" "$tree" boot/grub/eltorito.img
    rm -rf "$tree"
}

syslinux_modules() { echo "$(package syslinux-common)/usr/lib/syslinux/modules/bios"; }

# make_ext4 FILE MEBIBYTES FOLDER LABEL: an ext4 with the folder's files, all of them root's, in a shape that boot
# loaders of 2019 can read.
make_ext4() {
    rm -f "$1"
    truncate -s "$2M" "$1"
    PATH=$PATH:/sbin:/usr/sbin E2FSPROGS_FAKE_TIME=315532800 mke2fs -q -t ext4 -b 4096 -O "^64bit,^metadata_csum,^orphan_file" \
        -U 6c616263-746c-4000-8000-000000000001 -E hash_seed=6c616263-746c-4000-8000-000000000002,root_owner=0:0,lazy_itable_init=0 \
        -L "$4" -m 0 -d "$3" "$1"
    [ "$(id -u)" -eq 0 ] && return
    (cd "$3" && find . -mindepth 1 -printf 'set_inode_field "/%P" uid 0\nset_inode_field "/%P" gid 0\n') \
        | PATH=$PATH:/sbin:/usr/sbin debugfs -w -f - "$1" > /dev/null 2>&1
}

# make_partitioned FILE BOOT_CODE PARTITION: a disk with the boot code in its first 440 bytes and one active Linux
# partition (type 83) that holds the given file system.
make_partitioned() {
    local sectors=$(($(stat -c %s "$3") / sector))
    rm -f "$1"
    truncate -s $(((partition_lba + sectors) * sector)) "$1"
    dd if="$2" of="$1" bs=1 count=440 conv=notrunc status=none
    # Partition entry: active, CHS start and end beyond CHS's reach, type, first LBA, number of sectors; then 55 AA.
    perl -e 'print pack("C C3 C C3 V V x48 v", 0x80, 0xFE, 0xFF, 0xFF, 0x83, 0xFE, 0xFF, 0xFF, @ARGV, 0xAA55)' \
        "$partition_lba" "$sectors" | dd of="$1" bs=1 seek=446 conv=notrunc status=none
    dd if="$3" of="$1" bs=1M seek=$((partition_lba * sector / 1048576)) conv=notrunc,sparse status=none
}

# install_grub DISK [MODULE…]: GRUB 2 into the gap before the first partition. boot.img at LBA 0 loads the sector
# whose number stands at 0x5C (8 bytes), LBA 1; that sector, diskboot.img, loads the rest of the core image by the
# block list at its end: at 0x1F4 the first LBA (8 bytes), then length and segment as grub-mkimage wrote them.
install_grub() {
    local disk=$1 core=$1.core
    shift
    run_grub_mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$core" \
        biosdisk part_msdos ext2 normal linux serial terminal echo minicmd reboot halt "$@"
    [ "$(stat -c %s "$core")" -le $(((partition_lba - 1) * sector)) ] || fail "GRUB's core image is too big"
    dd if="$(grub_modules)/boot.img" of="$disk" bs=1 count=440 conv=notrunc status=none
    perl -e 'print pack "Q<", 1' | dd of="$disk" bs=1 seek=$((0x5C)) conv=notrunc status=none
    dd if="$core" of="$disk" bs=$sector seek=1 conv=notrunc status=none
    perl -e 'print pack "Q<", 2' | dd of="$disk" bs=1 seek=$((sector + 0x1F4)) conv=notrunc status=none
    rm -f "$core"
}

make_grub_disk() {
    local tree=$1.tree
    rm -rf "$tree" && boot_folder "$tree" initrd-disk-amd64
    mkdir "$tree/boot/grub"
    sed 's/@LABTEST@/disk/' "$files/grub.cfg" > "$tree/boot/grub/grub.cfg"
    make_ext4 "$1.ext4" 48 "$tree" labctl
    make_partitioned "$1" /dev/null "$1.ext4"
    install_grub "$1"
    rm -rf "$tree" "$1.ext4"
}

make_extlinux_disk() {
    local tree=$1.tree
    rm -rf "$tree" && boot_folder "$tree" initrd-disk-amd64
    mkdir "$tree/boot/extlinux"
    cp "$files/extlinux.conf" "$tree/boot/extlinux/"
    make_extlinux_filesystem "$1" 48 "$tree" labctl
    rm -rf "$tree"
}

# make_extlinux_filesystem DISK MEBIBYTES FOLDER LABEL: a disk with the folder's files on ext4 and EXTLINUX, which reads
# FOLDER/boot/extlinux/extlinux.conf. The extlinux program needs a mounted file system, so its work is done here on
# the image: syslinux, which carries the same loader, installs into a scratch FAT, from where the loader is copied and
# told by install-extlinux where in the ext4 it lies.
make_extlinux_filesystem() {
    local fat=$1.fat tree=$3
    rm -f "$fat" && truncate -s 4M "$fat"
    mtool mformat -i "$fat" -T 8192 -h 64 -s 32 ::
    PATH=$(package mtools)/usr/bin:$PATH "$(package syslinux)/usr/bin/syslinux" --install "$fat"
    mtool mcopy -i "$fat" ::ldlinux.sys "$1.sys"
    # mke2fs would leave holes for zeros, and the loader needs every sector: keep its place with other bytes.
    tr '\0' x < "$1.sys" > "$tree/boot/extlinux/ldlinux.sys"
    cp "$(syslinux_modules)/ldlinux.c32" "$tree/boot/extlinux/"
    make_ext4 "$1.ext4" "$2" "$tree" "$4"
    perl "$files/install-extlinux" "$1.ext4" /boot/extlinux "$fat" "$1.sys"
    make_partitioned "$1" "$(package syslinux-common)/usr/lib/syslinux/mbr/mbr.bin" "$1.ext4"
    rm -f "$fat" "$1.sys" "$1.ext4"
}
