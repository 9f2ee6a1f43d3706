/// The Differentiated System Description Table of the PC, as AML terms (ACPI 6.4, 5.2.11.1).
///
/// | object | what |
/// | --- | --- |
/// | `\_SB.PCI0` | root bridge: windows, `_PRT` |
/// | `\_SB.PCI0.ISA` | PIIX3; its PIRQ route registers, and the ISA devices below it |
/// | `\_SB.LNKA`–`LNKD` | interrupt links: set a PIRQ's route to ISA 5, 10 or 11 |
/// | `\_SB.HPET` | timer block |
/// | `\_PR.C000` and so on | the processors |
/// | `\_SB.VGEN`, `\_GPE._E05` | VM generation ID, and what tells that it changed |
/// | `\_S5` | sleep type 0: power off |
enum DSDT {
    /// ISA interrupts that PCI may use; the MADT declares them level-triggered.
    static let pciInterrupts: [UInt32] = [5, 10, 11]
    private static let links = ["LNKA", "LNKB", "LNKC", "LNKD"]
    private static let routes = ["PRQ0", "PRQ1", "PRQ2", "PRQ3"]

    /// - Parameters:
    ///   - lowRAMEnd: where PCI memory may begin.
    ///   - serialPortCount: COM ports that are there.
    static func terms(lowRAMEnd: UInt64, serialPortCount: Int, hasFloppy: Bool, cpuCount: Int) -> [UInt8] {
        AML.scope("\\_SB", pciRoot(lowRAMEnd: lowRAMEnd))
            + AML.scope("\\_SB.PCI0", isaBridge(serialPortCount: serialPortCount, hasFloppy: hasFloppy))
            + AML.scope("\\_SB", hpet() + links.indices.flatMap(link))
            + AML.scope("\\_SB", generationID())
            + AML.scope("\\_GPE", AML.method("_E05", AML.notify("\\_SB.VGEN", 0x80)))
            + AML.scope(
                "\\_PR",
                (0..<cpuCount).flatMap { AML.processor("C0" + hex($0, 2).uppercased(), id: UInt8($0)) })
            + AML.name("\\_S5", AML.package([[0], [0], [0], [0]]))
    }

    private static func pciRoot(lowRAMEnd: UInt64) -> [UInt8] {
        let firstFree = UInt32(max(lowRAMEnd, 0x100_0000))
        return AML.device(
            "PCI0",
            AML.name("_HID", AML.eisaID("PNP0A03")),
            AML.name("_ADR", [0]),
            AML.name("_UID", [0]),
            AML.name(
                "_CRS",
                AML.resources(
                    AML.window(.bus, from: UInt16(0), through: UInt16(0xFF)),
                    AML.ports(0xCF8, count: 8),
                    AML.window(.io, from: UInt16(0), through: UInt16(0xCF7)),
                    AML.window(.io, from: UInt16(0xD00), through: UInt16(0xFFFF)),
                    AML.window(.memory(isCacheable: true), from: UInt32(0xA_0000), through: UInt32(0xB_FFFF)),
                    AML.window(.memory(isCacheable: false), from: firstFree, through: UInt32(0xFEBF_FFFF)))),
            AML.name("_PRT", interruptRouting()))
    }

    /// Slot and pin to link, as `PIIX3` wires them. The power management function in slot 1 sits on the SCI instead.
    private static func interruptRouting() -> [UInt8] {
        var entries: [[UInt8]] = []
        for slot in 1..<32 {
            for pin in 0..<4 {
                let address = AML.integer(UInt64(slot) << 16 | 0xFFFF)
                let isSCI = slot == 1 && pin == 0
                let target = isSCI ? [[0], AML.integer(9)] : [AML.path(links[(pin + slot - 1) & 3]), [0]]
                entries.append(AML.package([address, AML.integer(UInt64(pin))] + target))
            }
        }
        return AML.package(entries)
    }

    private static func isaBridge(serialPortCount: Int, hasFloppy: Bool) -> [UInt8] {
        let serial = SerialPorts.places.prefix(serialPortCount).enumerated().flatMap { index, place in
            isaDevice(
                "COM\(index + 1)", "PNP0501", uid: UInt64(index + 1),
                AML.ports(place.base, count: 8) + AML.isaInterrupt(UInt8(place.irq)))
        }
        let floppy = AML.ports(0x3F2, count: 4) + AML.ports(0x3F7, count: 1) + AML.isaInterrupt(6) + AML.dma(2)
        return AML.device(
            "ISA",
            AML.name("_ADR", AML.integer(0x0001_0000)),
            AML.operationRegion("P40C", space: 2, offset: 0x60, length: 4),
            AML.byteFields(of: "P40C", routes),
            isaDevice("RTC", "PNP0B00", AML.ports(0x70, count: 2) + AML.isaInterrupt(8)),
            isaDevice("KBD", "PNP0303", AML.ports(0x60, count: 1) + AML.ports(0x64, count: 1) + AML.isaInterrupt(1)),
            isaDevice("MOU", "PNP0F13", AML.isaInterrupt(12)),
            hasFloppy ? isaDevice("FDC0", "PNP0700", floppy) : [],
            serial)
    }

    private static func isaDevice(_ name: String, _ id: String, uid: UInt64? = nil, _ resources: [UInt8]) -> [UInt8] {
        AML.device(
            name,
            AML.name("_HID", AML.eisaID(id)),
            uid.map { AML.name("_UID", AML.integer($0)) } ?? [],
            AML.name("_STA", AML.integer(0x0F)),
            AML.name("_CRS", AML.resources(resources)))
    }

    /// `ADDR` is the identifier's address in two halves.
    private static func generationID() -> [UInt8] {
        let address = VMGenerationID.base + VMGenerationID.offset
        return AML.device(
            "VGEN",
            AML.name("_HID", AML.string("LABC0001")),
            AML.name("_CID", AML.string("VM_Gen_Counter")),
            AML.name("_DDN", AML.string("VM_Gen_Counter")),
            AML.name("_STA", AML.integer(0x0F)),
            AML.name("ADDR", AML.package([AML.integer(address), [0]])))
    }

    private static func hpet() -> [UInt8] {
        AML.device(
            "HPET",
            AML.name("_HID", AML.eisaID("PNP0103")),
            AML.name("_UID", [0]),
            AML.name("_STA", AML.integer(0x0F)),
            AML.name("_CRS", AML.resources(AML.fixedMemory(UInt32(HPET.base), length: UInt32(HPET.mappedBytes)))))
    }

    /// A PCI interrupt link: route register bit 7 means disabled, else it is the interrupt's number.
    private static func link(_ index: Int) -> [UInt8] {
        let route = AML.path("\\_SB.PCI0.ISA.\(routes[index])")
        let disabled = AML.integer(0x80)
        return AML.device(
            links[index],
            AML.name("_HID", AML.eisaID("PNP0C0F")),
            AML.name("_UID", AML.integer(UInt64(index))),
            AML.name("_PRS", AML.resources(AML.sharedInterrupts(pciInterrupts))),
            AML.method(
                "_STA",
                AML.ifThen(AML.and(route, disabled), AML.giveBack(AML.integer(0x09))),
                AML.giveBack(AML.integer(0x0B))),
            AML.method("_DIS", AML.or(route, disabled, to: route)),
            AML.name("PRRB", AML.resources(AML.sharedInterrupts([0]))),
            AML.method(
                "_CRS",
                AML.createDWordField(AML.path("PRRB"), at: 5, "PRRI"),
                AML.store([0], to: AML.path("PRRI")),
                AML.ifThen(AML.isLess(route, disabled), AML.store(route, to: AML.path("PRRI"))),
                AML.giveBack(AML.path("PRRB"))),
            AML.method(
                "_SRS", arguments: 1,
                AML.createDWordField(AML.argument0, at: 5, "PRRS"),
                AML.store(AML.path("PRRS"), to: route)))
    }
}
