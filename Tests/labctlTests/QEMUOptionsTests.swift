import Testing
import VMProtocol

@testable import labctl

/// `labctl run` against the command lines that QEMU's users type.
@Suite struct QEMUOptionsTests {
    private func parse(_ line: String) throws -> VMRequest {
        try QEMUOptions.parse(line.split(separator: " ").map(String.init))
    }

    private func refusal(_ line: String) -> String? {
        do {
            _ = try parse(line)
            return nil
        } catch {
            return (error as? QEMUOptionError)?.description
        }
    }

    @Test func theUsualLineMeansWhatItMeansToQEMU() throws {
        let vm = try parse("-m 256 -hda x.qcow2 -cdrom y.iso -boot d -nographic").vm
        #expect(vm.memoryBytes == 256 << 20)
        #expect(vm.disks.map(\.slot) == [.hda])
        #expect(vm.disks.first?.path == "x.qcow2")
        #expect(vm.cdrom == "y.iso")
        #expect(vm.boot == "d")
        #expect(vm.console == .stdio)
    }

    @Test func bothDashesWork() throws {
        #expect(try parse("--m 1G --no-reboot").vm.memoryBytes == 1 << 30)
        #expect(try parse("--no-reboot").vm.noReboot)
    }

    @Test func aWordAloneIsTheFirstDisk() throws {
        #expect(try parse("disk.img -m 64").vm.disks.first?.slot == .hda)
    }

    @Test(arguments: [("256", 256), ("1G", 1024), ("size=512M", 512), ("0.5G", 512)])
    func memoryIsMebibytesUnlessItSaysOtherwise(text: String, mebibytes: UInt64) throws {
        #expect(try parse("-m \(text)").vm.memoryBytes == mebibytes << 20)
    }

    @Test func hdcAndCdromAreRefusedInEitherOrder() {
        #expect(refusal("-hdc a.img -cdrom b.iso")?.contains("secondary master") == true)
        #expect(refusal("-cdrom b.iso -hdc a.img")?.contains("secondary master") == true)
    }

    @Test func drivesFindFreePlacesAroundTheDisc() throws {
        let vm = try parse(
            "-drive file=a.img,format=raw -drive file=b.img -drive file=c.iso,media=cdrom -drive file=d.img,snapshot=on"
        ).vm
        #expect(vm.disks.map(\.slot) == [.hda, .hdb, .hdd])
        #expect(vm.disks.map(\.format) == ["raw", nil, nil])
        #expect(vm.disks.map(\.snapshot) == [false, false, true])
        #expect(vm.cdrom == "c.iso")
    }

    @Test func anEmptyDriveIsWhereNoDiskIs() throws {
        #expect(try parse("-hda a.img").vm.cdrom == "")
        #expect(try parse("-hdc a.img").vm.cdrom == nil)
    }

    @Test func aDoubledCommaBelongsToTheFileName() throws {
        #expect(try parse("-drive file=a,,b.img,index=1").vm.disks.first?.path == "a,b.img")
    }

    @Test func snapshotIsForEveryDiskWhereverItStands() throws {
        let vm = try parse("-snapshot -hda a.img -hdb b.img").vm
        #expect(vm.disks.map(\.snapshot) == [true, true])
    }

    @Test(arguments: [
        "-rtc clock=sun", "-rtc base=tomorrow", "-boot once=x", "-vnc :0", "-netdev user,id=n", "-smp 65",
        "-smp 0", "-smp many",
        "-icount shift=11", "-icount sleep=on", "-icount shift=2,align=on", "-smp 4,cores=3", "-smp 4,dies=2",
        "-smp 4,maxcpus=2", "-smp 2 -accel verify",
        "-smp sockets=9,cores=9", "-smp cpus=2,clusters=3",
        "-gdb tcp::1234", "-drive if=virtio,file=a",
        "-device e1000", "-monitor stdio", "-accel warp", "-boot x", "-m lots", "-initrd a", "-no-such-option",
        "-hda a -hda b", "-hda", "-machine q35", "-boot dd", "-drive index=4,file=a", "-qmp tcp:localhost:4444",
    ])
    func whatIsNotSupportedIsRefusedByName(line: String) throws {
        let message = try #require(refusal(line))
        let option = line.split(separator: " ").first.map(String.init) ?? ""
        #expect(message.contains(option.drop { $0 == "-" }), "'\(message)' does not name \(option)")
    }

    @Test(arguments: [
        "-enable-kvm", "-accel kvm", "-machine pc,accel=kvm:tcg", "-M accel=kvm", "-cpu host,migratable=no",
    ])
    func whatNeedsAnotherHypervisorStartsOnOursWithOneWarning(line: String) throws {
        let request = try parse(line)
        #expect(request.warnings.count == 1)
        #expect(request.vm.accelerator == .jit)
    }

    @Test func aSecondWordForTheSameIsNoSecondWarning() throws {
        #expect(try parse("-enable-kvm -accel kvm -machine accel=kvm").warnings.count == 1)
        #expect(try parse("-accel tcg").warnings.isEmpty)
    }

    @Test(
        arguments: [
            ("1", nil), ("cpus=1", nil), ("4", (1, 4, 1)), ("cpus=4", (1, 4, 1)), ("4,sockets=2", (2, 2, 1)),
            ("4,cores=2", (2, 2, 1)), ("8,sockets=2,cores=2", (2, 2, 2)), ("8,threads=2", (1, 4, 2)),
            ("sockets=2,cores=3,threads=2", (2, 3, 2)), ("cores=2", (1, 2, 1)), ("6,cores=3,threads=1", (2, 3, 1)),
            ("2,maxcpus=4", (1, 2, 1)), ("4,maxcpus=4,dies=1", (1, 4, 1)),
        ] as [(String, (Int, Int, Int)?)])
    func processorsArePackedAsQEMUPacksThem(text: String, packed: (Int, Int, Int)?) throws {
        let request = try parse("-smp \(text)")
        let topology = request.vm.topology.map { [$0.sockets, $0.cores, $0.threads] }
        #expect(topology == packed.map { [$0.0, $0.1, $0.2] })
        #expect(request.warnings.count == (text == "2,maxcpus=4" ? 1 : 0))
    }

    @Test func timeCanBeCounted() throws {
        #expect(try parse("-icount shift=3,sleep=off").vm.instructionShift == 3)
        #expect(try parse("-icount shift=3,sleep=off").vm.skipsSleep == true)
        #expect(try parse("-icount 7").vm.instructionShift == 7)
        #expect(try parse("-icount shift=auto").warnings.count == 1)
        #expect(try parse("-m 64").vm.instructionShift == nil)
    }

    @Test func theFirstBootMayHaveAnOrderOfItsOwn() throws {
        let vm = try parse("-boot once=d,menu=on,strict=on").vm
        #expect(vm.boot == "cad" && vm.bootOnce == "d" && vm.bootMenu == true)
        #expect(try parse("-boot order=dc").vm.boot == "dc")
    }

    @Test func modulesOfAKernelAreFoundFromEverywhere() throws {
        let request = try QEMUOptions.parse(["-kernel", "/k", "-initrd", "/no/such a b,/no/other"])
        #expect(request.description.initrd == "/no/such a b,/no/other")
        let relative = try QEMUOptions.parse(["-kernel", "/k", "-initrd", "such x,other"]).description.initrd ?? ""
        #expect(relative.split(separator: ",").allSatisfy { $0.hasPrefix("/") })
    }

    @Test func theClockIsSetAndDriven() throws {
        let vm = try parse("-rtc base=2006-06-17T16:01:21,clock=host").vm
        #expect(vm.clockSeconds == 1_150_560_081 && vm.clock == .host)
        #expect(try parse("-rtc base=1970-01-02").vm.clockSeconds == 86_400)
        #expect(try parse("-rtc base=localtime,clock=vm").vm.clockIsLocal == true)
        #expect(try parse("-rtc base=utc").vm.clockSeconds == nil)
    }

    @Test func everyOptionIsThereOnce() {
        let names = QEMUOptions.table.flatMap(\.names)
        #expect(Set(names).count == names.count)
    }

    @Test func everySupportedOptionIsInTheHelp() {
        for option in QEMUOptions.table {
            if case .refused = option.action { continue }
            #expect(!option.help.isEmpty)
            #expect(QEMUOptions.help.contains("-\(option.names[0])"))
        }
    }

    @Test(arguments: [
        "-m 99999999999999999999999", "-m 18446744073709551617", "-m 17592186044417", "-m 99999999999999999G",
        "-drive file=a,index=99999999999999999999", "-drive file=a,bus=99999999999999999999",
    ]) func numbersThatAreTooLargeAreSaidToBe(line: String) {
        #expect(refusal(line)?.contains("too large") == true)
    }

    @Test func placesOfDrivesDoNotOverflow() {
        let most = Int.max
        #expect(refusal("-drive file=a,bus=\(most),unit=\(most)")?.contains("four IDE drives") == true)
    }

    @Test func theFirmwareTellsWhatItIsTold() throws {
        let vm = try parse(
            "-smbios type=1,serial=ds=nocloud;s=http://x/,product=Labs,,Inc -fw_cfg name=opt/org.x/a,string=b,,c "
                + "-fw_cfg opt/com.coreos/config,file=c.ign -uuid 123e4567-e89b-12d3-a456-426614174000"
        ).vm
        #expect(vm.smbios?.map(\.name) == ["product", "serial", "uuid"])
        #expect(vm.smbios?.map(\.value).prefix(2) == ["Labs,Inc", "ds=nocloud;s=http://x/"])
        #expect(vm.firmwareFiles?.first == .init(name: "opt/org.x/a", text: "b,c"))
        #expect(vm.firmwareFiles?.last?.path?.hasSuffix("/c.ign") == true)
        #expect(refusal("-smbios type=2,serial=1")?.contains("there are 0 and 1") == true)
        #expect(refusal("-smbios type=0,serial=1")?.contains("type 0 has no 'serial'") == true)
        #expect(refusal("-smbios type=1,uuid=1")?.contains("not a UUID") == true)
        #expect(refusal("-fw_cfg name=etc/x,string=1")?.contains("opt/") == true)
        #expect(refusal("-fw_cfg name=opt/x")?.contains("file=PATH or string=TEXT") == true)
        #expect(refusal("-fw_cfg opt/x,string=1 -fw_cfg opt/x,string=2")?.contains("two files") == true)
    }
}
