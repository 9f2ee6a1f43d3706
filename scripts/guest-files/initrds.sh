# Small initrds: a cpio archive with busybox, /init and where wanted kernel modules. Sourced by scripts/guests.
# There are no device nodes in them: the kernel brings /dev/console along, /init mounts devtmpfs.

# pack_initrd FOLDER FILE: owner root, fixed times and order, so that the same input gives the same bytes.
pack_initrd() {
    find "$1" -exec touch -h -d @0 {} +
    (cd "$1" && find . | LC_ALL=C sort | "$(busybox_of amd64)" cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno 2> /dev/null) | gzip -9n > "$2"
}

# busybox_tree ARCH FOLDER: busybox and a link for each of its applets.
busybox_tree() {
    local applet
    mkdir -p "$2"/bin "$2"/proc "$2"/sys "$2"/dev "$2"/tmp "$2"/root "$2"/etc
    ln -s bin "$2/sbin"
    cp "$(busybox_of "$1")" "$2/bin/busybox"
    # The amd64 build names its applets; both builds have the same ones.
    for applet in $("$(busybox_of amd64)" --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$2/bin/$applet"
    done
}

make_initrd_small() { # ARCH FILE
    local tree=$2.tree
    rm -rf "$tree"
    busybox_tree "$1" "$tree"
    install -m 755 "$files/init" "$tree/init"
    install -m 755 "$files/bench" "$tree/bench"
    pack_initrd "$tree" "$2"
    rm -rf "$tree"
}
make_initrd_small_amd64() { make_initrd_small amd64 "$1"; }
make_initrd_small_i386() { make_initrd_small i386 "$1"; }

# copy_modules KERNEL_PACKAGE FOLDER MODULE…: the modules and all they depend on, flat, with their names in `order`,
# dependencies first. A module that the kernel has built in is left out.
copy_modules() {
    local tree destination=$2 module
    tree=$(package "$1")/lib/modules
    shift 2
    mkdir -p "$destination"
    : > "$destination/order"
    for module in "$@"; do copy_module "$module"; done
}
copy_module() { # uses tree, destination of copy_modules
    local name=${1//-/_} file dependency
    grep -qx "$name.ko" "$destination/order" && return
    file=$(find "$tree" -name "${name//_/[-_]}.ko*" | head -1)
    [ -n "$file" ] || return 0
    case $file in
        *.xz) xz -dc "$file" > "$destination/$name.ko" ;;
        *) cp "$file" "$destination/$name.ko" ;;
    esac
    # .modinfo holds strings that end in NUL, among them depends=a,b.
    for dependency in $(tr '\0' '\n' < "$destination/$name.ko" | sed -n 's/^depends=//p' | tr , ' '); do
        copy_module "$dependency"
    done
    echo "$name.ko" >> "$destination/order"
}

disk_modules=(ata_piix sd_mod sr_mod ext4 isofs evdev button)

make_initrd_disk() { # KERNEL_META FILE
    local tree=$2.tree
    rm -rf "$tree"
    busybox_tree amd64 "$tree"
    install -m 755 "$files/init" "$tree/init"
    install -m 755 "$files/bench" "$tree/bench"
    copy_modules "$(kernel_package "$1")" "$tree/modules" "${disk_modules[@]}"
    pack_initrd "$tree" "$2"
    rm -rf "$tree"
}
make_initrd_disk_amd64() { make_initrd_disk linux-image-cloud-amd64 "$1"; }
make_initrd_disk_full_amd64() { make_initrd_disk linux-image-amd64 "$1"; }

# copy_program TREE PACKAGE FILE…: programs or libraries of an amd64 package, at the same place.
copy_program() {
    local tree=$1 source file
    source=$(package "$2")
    shift 2
    for file in "$@"; do
        mkdir -p "$tree/$(dirname "$file")"
        cp -L "$source/$file" "$tree/$file"
    done
}

# The initrd of `make bench`: the small one, Perl, LuaJIT and TinyCC with the libraries they need, and the i386 busybox, whose
# floating point is the x87.
make_initrd_bench_amd64() {
    local tree=$1.tree lib=lib/x86_64-linux-gnu
    rm -rf "$tree"
    busybox_tree amd64 "$tree"
    install -m 755 "$files/init" "$tree/init"
    install -m 755 "$files/bench" "$tree/bench"
    install -m 755 "$(busybox_of i386)" "$tree/bin/busybox-i386"
    copy_program "$tree" libc6 lib64/ld-linux-x86-64.so.2 $lib/{libc.so.6,libm.so.6,libdl.so.2,libpthread.so.0}
    copy_program "$tree" libcrypt1 $lib/libcrypt.so.1
    copy_program "$tree" libgcc-s1 $lib/libgcc_s.so.1
    copy_program "$tree" luajit usr/bin/luajit
    copy_program "$tree" perl-base usr/bin/perl
    copy_program "$tree" tcc usr/bin/tcc
    pack_initrd "$tree" "$1"
    rm -rf "$tree"
}
