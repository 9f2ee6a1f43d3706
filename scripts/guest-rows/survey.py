"""The guests of scripts/guest-survey: where Debian has them, how they are started, and what says that they are up."""
import gzip
import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List

HERE = Path(__file__).resolve().parent
CACHE = Path(
    os.environ.get("LABCTL_GUEST_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "labctl", "guests")
)
#: The marker of guests that are recognised by their picture only.
PICTURE = "(a picture)"


@dataclass
class Guest:
    """One row: ``arguments`` makes what the guest needs and gives QEMU's options for it."""

    name: str
    title: str
    origin: str
    marker: str
    arguments: Callable[[], List[str]]
    memory: int = 256
    #: Seconds from the marker to the comparison.
    settle: float = 2


def _shell(script: str) -> str:
    prologue = f"""
        set -euo pipefail; shopt -s inherit_errexit
        here={HERE.parent}; files={HERE.parent / "guest-files"}; cache={CACHE}; mkdir -p "$cache/deb" "$cache/tree"
        say() {{ echo "guests: $*" >&2; }}; fail() {{ say "$*"; exit 1; }}
        source "$files/packages.sh"
    """
    done = subprocess.run(["bash", "-c", prologue + script], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def package(name: str, arch: str = "amd64") -> str:
    """The folder that a package is unpacked in."""
    return _shell(f"package {name} {arch}")


def kernel(meta: str) -> str:
    """The kernel that a metapackage of amd64 stands for."""
    folder = Path(_shell(f'package "$(kernel_package {meta})"'), "boot")
    return str(next(folder.glob("vmlinuz-*")))


def kernel_i386(flavour: str) -> str:
    script = (
        "apt_for i386; package $(apt-cache \"${apt[@]}\" depends linux-image-" + flavour
        + " | awk '/Depends: linux-image-/ { print $2; exit }') i386"
    )
    return str(next(Path(_shell(script), "boot").glob("vmlinuz-*")))


def guest(name: str) -> str:
    """What scripts/guests makes under a name."""
    return subprocess.run([HERE.parent / "guests", name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def made(name: str, make: Callable[[Path], None]) -> str:
    """A file of the cache that is made the first time."""
    path = CACHE / "survey" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(name + ".part")
        make(part)
        part.rename(path)
    return str(path)


def unpacked(source: str) -> str:
    """A .gz or .xz file, unpacked."""
    opener = gzip.open if source.endswith(".gz") else lzma.open
    return made(Path(source).stem, lambda part: part.write_bytes(opener(source).read()))


def isolinux_cd(name: str, module: str, configuration: str) -> str:
    """A CD of ISOLINUX that starts a module."""

    def make(part: Path) -> None:
        tree = part.with_name(part.name + ".tree")
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(Path(package("syslinux-common", "all"), "usr/lib/syslinux/modules/bios"), tree / "isolinux")
        shutil.copy(Path(package("isolinux", "all"), "usr/lib/ISOLINUX/isolinux.bin"), tree / "isolinux")
        (tree / "boot").mkdir()
        (tree / "isolinux" / "isolinux.cfg").write_text(configuration or f"DEFAULT {module}\n")
        _shell(f'source "$files/media.sh"; make_iso "{part}" "{tree}" isolinux/isolinux.bin')
        shutil.rmtree(tree)

    return made(f"{name}.iso", make)


MENU = """UI vesamenu.c32
MENU TITLE A menu in a graphics mode
LABEL one
  MENU LABEL The first
  KERNEL reboot.c32
LABEL two
  MENU LABEL The second
  KERNEL poweroff.c32
"""


def mbr_disk(part: Path) -> None:
    with open(part, "wb") as file:
        file.truncate(16 << 20)
    program = Path(package("mbr"), "sbin/install-mbr")
    subprocess.run([program, "--force", "--timeout", "1000", part], check=True)


def linux(kernel_path: str, initrd: str, append: str = "console=ttyS0 earlyprintk=ttyS0") -> List[str]:
    return ["-kernel", kernel_path, "-initrd", initrd, "-append", append]


def installer(arch: str) -> List[str]:
    folder = guest(f"netboot-{arch}")
    return linux(f"{folder}/linux", f"{folder}/initrd.gz", "console=ttyS0 TERM=dumb priority=medium")


def multiboot_linux(kernel_path: str, append: str, options: str) -> List[str]:
    """A hypervisor or launcher that gets Linux and its initrd as modules."""
    modules = f"{kernel('linux-image-amd64')} {options},{guest('initrd-small-amd64')}"
    return ["-kernel", kernel_path, "-append", append, "-initrd", modules]


def rescue(kind: str) -> str:
    return package("grub-rescue-pc") + f"/usr/lib/grub-rescue/grub-rescue-{kind}"


GUESTS = [
    Guest("seabios", "SeaBIOS with nothing to boot", "seabios", "No bootable device", lambda: []),
    Guest("memtest-x64", "Memtest86+ 6.10, 64 bits, `-kernel`", "memtest86+", r"Memtest86\+",
          lambda: ["-kernel", package("memtest86+") + "/boot/memtest86+x64.bin"], memory=64, settle=8),
    Guest("memtest-ia32", "Memtest86+ 6.10, 32 bits, its CD", "memtest86+", r"Memtest86\+",
          lambda: ["-cdrom", package("memtest86+") + "/usr/lib/memtest86+/memtest86+ia32.iso"], memory=64, settle=8),
    Guest("ipxe-kernel", "iPXE as a kernel", "ipxe", "iPXE 1|Open Source Network Boot",
          lambda: ["-kernel", package("ipxe", "all") + "/boot/ipxe.lkrn"], settle=8),
    Guest("ipxe-cd", "iPXE's CD", "ipxe", "iPXE 1|Open Source Network Boot",
          lambda: ["-cdrom", package("ipxe", "all") + "/usr/lib/ipxe/ipxe.iso"], settle=8),
    Guest("grub-cd", "GRUB 2 rescue CD", "grub-rescue-pc", "grub>", lambda: ["-cdrom", rescue("cdrom.iso")]),
    Guest("grub-floppy", "GRUB 2 rescue floppy", "grub-rescue-pc", "grub>|GRUB",
          lambda: ["-fda", rescue("floppy.img"), "-boot", "a"], settle=10),
    Guest("memdisk", "MEMDISK with GRUB's floppy in memory", "syslinux-common", "grub>|MEMDISK",
          lambda: ["-kernel", package("syslinux-common", "all") + "/usr/lib/syslinux/memdisk",
                   "-initrd", rescue("floppy.img")], settle=10),
    Guest("hdt", "HDT, the hardware detection tool, under ISOLINUX", "syslinux-common", "Hardware Detection Tool",
          lambda: ["-cdrom", isolinux_cd("hdt", "hdt.c32", "")], settle=5),
    Guest("meminfo", "SYSLINUX `meminfo`", "syslinux-common", "boot:",
          lambda: ["-cdrom", isolinux_cd("meminfo", "meminfo.c32", "")]),
    Guest("vesamenu", "SYSLINUX `vesamenu`, a graphics mode", "syslinux-common", PICTURE,
          lambda: ["-cdrom", isolinux_cd("vesamenu", "", MENU)], settle=5),
    Guest("geodsp", "`geodsp1s`, SYSLINUX's geometry tool, a boot sector", "syslinux-common", "(?i)sector|geodsp|C.*H.*S",
          lambda: ["-drive", "format=raw,file=" + unpacked(package("syslinux-common", "all")
                   + "/usr/lib/syslinux/mbr/diag/geodsp/geodsp1s.img.xz"), "-snapshot"]),
    Guest("mbr", "`install-mbr`'s boot manager", "mbr", "MBR|1FA",
          lambda: ["-drive", "format=raw,file=" + made("mbr.img", mbr_disk), "-snapshot"]),
    Guest("gnumach", "GNU Mach 1.8, the Hurd's kernel", "gnumach-image-1.8-486 (i386)", "GNU Mach|panic|bootstrap",
          lambda: ["-kernel", unpacked(package("gnumach-image-1.8-486", "i386") + "/boot/gnumach-1.8-486.gz"),
                   "-append", "console=com0"], settle=4),
    Guest("xen", "Xen 4.17, its Dom0 a paravirtual Linux", "xen-hypervisor-4.17-amd64", "LABCTL-SHELL|Panic on CPU",
          lambda: multiboot_linux(
              unpacked(package("xen-hypervisor-4.17-amd64") + "/boot/xen-4.17-amd64.gz"),
              "com1=115200,8n1 console=com1 loglvl=info noreboot dom0_mem=320M", "console=hvc0"), memory=512),
    Guest("tboot", "tboot 1.10 before Linux", "tboot", "LABCTL-SHELL",
          lambda: multiboot_linux(unpacked(package("tboot") + "/boot/tboot.gz"), "logging=serial", "console=ttyS0"),
          memory=512),
    Guest("u-boot-32", "U-Boot 2023.01 as firmware, 32 bits", "u-boot-qemu", "U-Boot 2023",
          lambda: ["-bios", package("u-boot-qemu", "all") + "/usr/lib/u-boot/qemu-x86/u-boot.rom"], settle=8),
    Guest("u-boot-64", "U-Boot 2023.01 as firmware, 64 bits", "u-boot-qemu", "U-Boot",
          lambda: ["-bios", package("u-boot-qemu", "all") + "/usr/lib/u-boot/qemu-x86_64/u-boot.rom"], settle=8),
    Guest("grub-firmware", "GRUB 2 as firmware", "grub-firmware-qemu", "grub>",
          lambda: ["-bios", package("grub-firmware-qemu") + "/usr/share/qemu/grub.bin"], settle=4),
    Guest("qboot", "qboot as firmware, starting Linux", "qemu-system-data", "LABCTL-SHELL",
          lambda: ["-bios", package("qemu-system-data", "all") + "/usr/share/qemu/qboot.rom",
                   *linux(kernel("linux-image-cloud-amd64"), guest("initrd-small-amd64"))]),
    Guest("ovmf", "OVMF, UEFI firmware", "ovmf", "UEFI Interactive Shell|BdsDxe|Shell>",
          lambda: ["-bios", package("ovmf", "all") + "/usr/share/ovmf/OVMF.fd"], settle=4),
    Guest("linux-amd64", "Debian's kernel, amd64", "linux-image-amd64", "LABCTL-SHELL",
          lambda: linux(kernel("linux-image-amd64"), guest("initrd-small-amd64"))),
    Guest("linux-cloud", "Debian's cloud kernel", "linux-image-cloud-amd64", "LABCTL-SHELL",
          lambda: linux(kernel("linux-image-cloud-amd64"), guest("initrd-small-amd64"))),
    Guest("linux-rt", "Debian's real-time kernel", "linux-image-rt-amd64", "LABCTL-SHELL",
          lambda: linux(kernel("linux-image-rt-amd64"), guest("initrd-small-amd64"))),
    Guest("linux-686-pae", "Debian's kernel, i386 with PAE", "linux-image-686-pae (i386)", "LABCTL-SHELL",
          lambda: linux(kernel_i386("686-pae"), guest("initrd-small-i386"))),
    Guest("linux-rt-686", "Debian's real-time kernel, i386", "linux-image-rt-686-pae (i386)", "LABCTL-SHELL",
          lambda: linux(kernel_i386("rt-686-pae"), guest("initrd-small-i386"))),
    Guest("installer-i386", "Debian's installer, i386", "debian-installer-12-netboot-i386", "Choose language|language",
          lambda: installer("i386"), memory=384),
    Guest("installer-amd64", "Debian's installer, amd64", "debian-installer-12-netboot-amd64",
          "Choose language|language", lambda: installer("amd64"), memory=384),
    Guest("grub-disk", "GRUB 2 in an MBR, ext4, Linux", "grub-pc-bin", "LABCTL-SHELL|LABCTL-POWEROFF",
          lambda: ["-drive", "format=raw,file=" + guest("grub-disk"), "-snapshot"], settle=1),
    Guest("extlinux-disk", "EXTLINUX on ext4, Linux", "extlinux", "LABCTL-SHELL|LABCTL-POWEROFF",
          lambda: ["-drive", "format=raw,file=" + guest("extlinux-disk"), "-snapshot"], settle=1),
]
