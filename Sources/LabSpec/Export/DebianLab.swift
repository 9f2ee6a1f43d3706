/// `labctl init --debian`: a lab with a Debian that is made from packages, and the script that makes it.
public enum DebianLab {
    /// The script's name beside the lab file.
    public static let scriptName = "make-debian-image"

    /// The lab file.
    public static func text(name: String) -> String {
        """
        # A Debian for labctl, made from its packages:
        #
        #   ./\(scriptName)      makes images/debian.qcow2, without root, once
        #   labctl up
        #   labctl console debian    (log in as root, without a password; leave with Ctrl-])
        lab: \(StarterLab.quotedName(name))

        images:
          debian:                             # golden: no VM ever writes to it
            path: images/debian.qcow2
            format: qcow2

        vms:
          debian:
            # replicas: 30                    # debian-01 ... debian-30, each with a disk of its own
            memory: 512M
            kernel: images/vmlinuz
            initrd: images/initrd.img
            append: root=/dev/sda rw console=ttyS0
            disks:
              hda: { base: debian }           # a copy-on-write overlay
            login: { user: root }             # exec, cp and check log in by themselves
            ready: { console: "login: ", timeout: 15m }

        """
    }

    /// The script.
    public static let script = #"""
        #!/usr/bin/env bash
        # Makes images/debian.qcow2, images/vmlinuz and images/initrd.img from Debian's packages. Needs no root.
        #
        #   ./make-debian-image [PACKAGE…]    packages beside those that make it boot
        #
        # SUITE (bookworm), MIRROR (your apt's) and SIZE (4G, of the disk) choose another Debian.
        set -euo pipefail

        here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
        images=$here/images
        export PATH=$PATH:/usr/sbin:/sbin
        for program in mmdebstrap fakeroot mke2fs labctl; do
            command -v "$program" > /dev/null && continue
            echo "'$program' is missing: apt-get install mmdebstrap fakeroot e2fsprogs, and labctl in your PATH" >&2
            exit 1
        done
        packages=linux-image-cloud-amd64,initramfs-tools,systemd-sysv,udev,kmod,procps,login,passwd,less
        for package in "$@"; do packages+=,$package; done

        mkdir -p "$images"
        work=$(mktemp -d "$images/.making.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        mmdebstrap --variant=minbase --include="$packages" \
            --customize-hook='chroot "$1" passwd -d root' \
            --customize-hook='echo debian > "$1/etc/hostname"' \
            --customize-hook='echo "/dev/sda / ext4 errors=remount-ro 0 1" > "$1/etc/fstab"' \
            --customize-hook="download /vmlinuz '$work/vmlinuz'" \
            --customize-hook="download /initrd.img '$work/initrd.img'" \
            "${SUITE:-bookworm}" "$work/root.tar" ${MIRROR:+"$MIRROR"}

        # Owners and modes are those of the packages: fakeroot keeps them in mind.
        truncate -s "${SIZE:-4G}" "$work/disk.img"
        fakeroot -- sh -ec '
            mkdir "$1/root"
            tar -C "$1/root" -xf "$1/root.tar" --exclude="./dev/*"
            mke2fs -q -t ext4 -L debian -d "$1/root" "$1/disk.img"
            rm -rf "$1/root"
        ' sh "$work"
        labctl image convert -f raw -O qcow2 "$work/disk.img" "$work/debian.qcow2"

        # Golden from here on.
        chmod a-w "$work/debian.qcow2"
        mv -f "$work/vmlinuz" "$work/initrd.img" "$work/debian.qcow2" "$images/"
        ls -l "$images"

        """#
}
