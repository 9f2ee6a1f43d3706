import Foundation
import Testing

/// Real guests, from the firmware's first instruction to a text on the serial line. One at a time: each takes a core.
@Suite("Booting real guests", .serialized)
struct BootTests {
    /// A kernel that the emulator loads itself, and the initrd whose /init prints the markers.
    struct DirectBoot: Sendable, CustomTestStringConvertible {
        var kernel: GuestImage
        var initrd: GuestImage
        var release: String
        var testDescription: String { kernel.rawValue }
    }

    @Test(
        "Debian kernels reach their init, name themselves and power off through ACPI",
        arguments: [
            DirectBoot(kernel: .kernelCloudAMD64, initrd: .initrdSmallAMD64, release: "cloud-amd64"),
            DirectBoot(kernel: .kernelAMD64, initrd: .initrdSmallAMD64, release: "-amd64"),
            DirectBoot(kernel: .kernelI386, initrd: .initrdSmallI386, release: "-686"),
        ])
    func kernelReachesInit(boot: DirectBoot) throws {
        let guest = try GuestRun([
            "-m", "256", "-kernel", boot.kernel.path(), "-initrd", boot.initrd.path(),
            "-append", "console=ttyS0 quiet labtest=poweroff",
        ])
        try guest.wait(for: "LABCTL-INIT-REACHED")
        try guest.wait(for: boot.release)
        try guest.wait(for: "LABCTL-POWEROFF")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test(
        "kernels start both processors, and programs run on each",
        arguments: [GuestImage.kernelCloudAMD64, .kernelAMD64])
    func severalProcessors(kernel: GuestImage) throws {
        let guest = try GuestRun([
            "-smp", "2", "-m", "256", "-kernel", kernel.path(), "-initrd", GuestImage.initrdSmallAMD64.path(),
            "-append", "console=ttyS0 quiet labtest=shell",
        ])
        try guest.wait(for: "# ")
        try guest.send("echo cpus=$(grep -c ^processor /proc/cpuinfo)\n")
        try guest.wait(for: "cpus=2")
        try guest.send("for cpu in 1 2; do taskset $cpu sh -c 'echo on-$(cut -d\" \" -f39 /proc/self/stat)'; done\n")
        try guest.wait(for: "on-0")
        try guest.wait(for: "on-1")
        try guest.send("for i in 1 2 3 4; do sha256sum /bin/busybox & done; wait; echo sums-$((1+1))\n")
        try guest.wait(for: "sums-2")
        try guest.send("poweroff -f\n")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test("firmware starts them, too, and hands them on to a kernel from a disk")
    func severalProcessorsFromDisk() throws {
        let guest = try GuestRun([
            "-smp", "2,sockets=2", "-m", "256", "-drive",
            "file=\(GuestImage.grubDisk.path()),format=raw,snapshot=on",
        ])
        try guest.wait(for: "LABCTL-DISKS-LISTED")
        try guest.wait(for: "# ")
        try guest.send("echo cpus=$(grep -c ^processor /proc/cpuinfo)\n")
        try guest.wait(for: "cpus=2")
        try guest.send("poweroff -f\n")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test("a kernel boots in lockstep with the interpreter")
    func kernelBootsVerified() throws {
        let guest = try GuestRun([
            "-accel", "verify", "-m", "256", "-kernel", GuestImage.kernelCloudAMD64.path(),
            "-initrd", GuestImage.initrdSmallAMD64.path(), "-append", "console=ttyS0 quiet labtest=poweroff",
        ])
        try guest.wait(for: "LABCTL-POWEROFF")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test("a guest that reboots ends the run when -no-reboot is given")
    func rebootEndsRun() throws {
        let guest = try GuestRun([
            "-m", "256", "-no-reboot", "-kernel", GuestImage.kernelCloudAMD64.path(),
            "-initrd", GuestImage.initrdSmallAMD64.path(), "-append", "console=ttyS0 quiet labtest=reboot",
        ])
        try guest.wait(for: "LABCTL-REBOOT")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test("a 64-bit kernel runs 32-bit programs, and its shell answers what is typed")
    func shellAnswers() throws {
        let guest = try GuestRun([
            "-m", "256", "-kernel", GuestImage.kernelCloudAMD64.path(),
            "-initrd", GuestImage.initrdSmallI386.path(), "-append", "console=ttyS0 quiet labtest=shell",
        ])
        try guest.wait(for: "# ")
        try guest.send("echo sum=$((6*7*1000))\n")
        try guest.wait(for: "sum=42000")
        try guest.send("poweroff -f\n")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test("ISOLINUX boots from a CD and loads a kernel")
    func isolinux() throws {
        let guest = try GuestRun(["-m", "256", "-cdrom", GuestImage.isolinuxCD.path(), "-boot", "d"])
        try guest.wait(for: "ISOLINUX 6.04")
        try guest.wait(for: "boot:")
        try guest.wait(for: "LABCTL-INIT-REACHED")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test("GRUB 2 boots from a CD and loads a kernel")
    func grubCD() throws {
        let guest = try GuestRun(["-m", "256", "-cdrom", GuestImage.grubCD.path(), "-boot", "d"])
        try guest.wait(for: "LABCTL-GRUB-REACHED")
        try guest.wait(for: "LABCTL-INIT-REACHED")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test(
        "boot loaders start Linux from a disk, and Linux finds the disk",
        arguments: [
            (GuestImage.grubDisk, "LABCTL-GRUB-REACHED"), (GuestImage.extlinuxDisk, "LINUX 6.04"),
        ])
    func disk(image: GuestImage, marker: String) throws {
        let guest = try GuestRun(["-m", "256", "-drive", "file=\(image.path()),format=raw,snapshot=on"])
        try guest.wait(for: marker)
        try guest.wait(for: "LABCTL-INIT-REACHED")
        try guest.wait(for: "sda1")
        try guest.wait(for: "LABCTL-DISKS-LISTED")
        try guest.wait(for: "# ")
        try guest.send("poweroff -f\n")
        #expect(try guest.waitForEnd() == 0)
    }

    @Test("the classroom machine logs in, keeps a file over a reboot and powers off")
    func classroom() throws {
        let guest = try GuestRun([
            "-m", "128", "-drive", "file=\(GuestImage.classroomDisk.path()),format=raw,snapshot=on",
        ])
        try guest.wait(for: "login: ")
        try guest.send("root\n")
        try guest.wait(for: "classroom:/root#")
        try guest.send("echo kept-$((40+2)) > /root/kept; reboot\n")
        try guest.wait(for: "login: ")
        try guest.send("root\n")
        try guest.wait(for: "classroom:/root#")
        try guest.send("cat /root/kept; poweroff\n")
        try guest.wait(for: "kept-42")
        #expect(try guest.waitForEnd() == 0)
    }
}
