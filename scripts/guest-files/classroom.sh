# The disk of examples/classroom.lab.yaml. Sourced by scripts/guests.

# make_classroom_disk FILE: busybox userland with serial login on ext4, booted by EXTLINUX with Debian's cloud kernel.
# What is in it beyond busybox and kernel stands in examples/classroom-root.
make_classroom_disk() {
    local tree=$1.tree kernel
    kernel=$(kernel_package linux-image-cloud-amd64)
    rm -rf "$tree"
    busybox_tree amd64 "$tree"
    ln -sf busybox "$tree/bin/init"
    mkdir -p "$tree/boot" "$tree/lib" "$tree/scratch" "$tree/usr" "$tree/var/log" "$tree/run"
    ln -s ../bin "$tree/usr/bin"
    ln -s ../bin "$tree/usr/sbin"
    cp -a "$here/../examples/classroom-root/." "$tree/"
    copy_modules "$kernel" "$tree/lib/modules" evdev button sr_mod isofs
    cp "$(make_guest kernel-cloud-amd64)" "$tree/boot/vmlinuz"

    busybox_tree amd64 "$tree.initrd"
    install -m 755 "$files/init-disk-root" "$tree.initrd/init"
    copy_modules "$kernel" "$tree.initrd/modules" ata_piix sd_mod ext4
    pack_initrd "$tree.initrd" "$tree/boot/initrd.gz"

    make_extlinux_filesystem "$1" 62 "$tree" classroom
    rm -rf "$tree" "$tree.initrd"
}
