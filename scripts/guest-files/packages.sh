# Debian packages without installing them. Sourced by scripts/guests.

# apt_for ARCH: sets `apt` to options under which apt-get and apt-cache know that architecture's packages. The
# host's own lists serve for its own architecture; otherwise, or where they are empty, lists of our own are fetched
# into the cache, so that the host's dpkg architectures and lists stay as they are.
apt_for() {
    local arch=$1 root=$cache/apt-$1
    apt=()
    if [ "$arch" = "$(dpkg --print-architecture)" ] && apt-cache show busybox-static > /dev/null 2>&1; then return; fi
    apt=(
        -o APT::Architecture="$arch" -o APT::Architectures="$arch"
        -o Dir::State="$root/state" -o Dir::State::Lists="$root/state/lists" -o Dir::State::status="$root/status"
        -o Dir::Cache="$root/cache"
        -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
    )
    [ -e "$root/fetched" ] && return
    say "fetching the package lists of $arch"
    mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial"
    : > "$root/status"
    local mirror=${LABCTL_DEBIAN_MIRROR:-http://deb.debian.org/debian}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" > "$root/sources.list"
    apt-get "${apt[@]}" -q update >&2
    touch "$root/fetched"
}

# package NAME [ARCH]: prints the folder the package is unpacked in, fetching and unpacking it the first time.
package() {
    local name=$1 arch=${2:-amd64}
    local tree=$cache/tree/$name.$arch deb
    if [ ! -e "$tree" ]; then
        deb=$(find "$cache/deb" -name "${name}_*_$arch.deb" -o -name "${name}_*_all.deb" | sort | tail -1)
        if [ -z "$deb" ]; then
            local apt part=$cache/deb/part.$$
            apt_for "$arch"
            say "fetching package $name ($arch)"
            rm -rf "$part" && mkdir -p "$part"
            (cd "$part" && apt-get "${apt[@]}" -q -o APT::Sandbox::User=root download "$name" >&2) \
                || fail "apt-get could not fetch $name ($arch); is there a network, and are package lists current?"
            mv "$part"/*.deb "$cache/deb/" && rmdir "$part"
            deb=$(find "$cache/deb" -name "${name}_*_$arch.deb" -o -name "${name}_*_all.deb" | sort | tail -1)
        fi
        rm -rf "$tree.part"
        dpkg-deb -x "$deb" "$tree.part"
        mv -T "$tree.part" "$tree"
    fi
    echo "$tree"
}

# kernel_package META: the package that a metapackage such as linux-image-amd64 stands for. What was fetched before is
# used again, so that a cache stays whole when Debian publishes a newer kernel.
kernel_package() {
    local meta=$1 flavour=${1#linux-image-} apt name
    name=$(cd "$cache/deb" && ls | sed -n "s/^\(linux-image-[0-9.]*-[0-9]*-$flavour\)_.*/\1/p" | sort -V | tail -1)
    if [ -z "$name" ]; then
        apt_for amd64
        name=$(apt-cache "${apt[@]}" depends "$meta" | awk '/Depends: linux-image-/ { print $2; exit }')
    fi
    [ -n "$name" ] || fail "apt does not know $meta; try apt-get update"
    echo "$name"
}

busybox_of() { echo "$(package busybox-static "$1")/bin/busybox"; }

make_kernel_amd64() { cp "$(package "$(kernel_package linux-image-amd64)")"/boot/vmlinuz-* "$1"; }
make_kernel_cloud_amd64() { cp "$(package "$(kernel_package linux-image-cloud-amd64)")"/boot/vmlinuz-* "$1"; }
make_kernel_i386() { cp "$(installer i386)/linux" "$1"; }

# installer ARCH: the folder of the text-mode network installer.
installer() {
    echo "$(package "debian-installer-12-netboot-$1")/usr/lib/debian-installer/images/12/$1/text/debian-installer/$1"
}

make_netboot() {
    mkdir "$2"
    cp "$(installer "$1")/linux" "$(installer "$1")/initrd.gz" "$2/"
}
make_netboot_amd64() { make_netboot amd64 "$1"; }
make_netboot_i386() { make_netboot i386 "$1"; }
