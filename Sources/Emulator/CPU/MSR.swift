/// Model-specific registers (SDM vol. 4; AMD APM vol. 2, appendix A): one row each, looked up by number.
///
/// Rows that a kernel probes on this kind of machine but that have nothing behind them read as 0 and drop writes.
/// Anything
/// else is #GP and one log line.
struct MSR: Sendable {
    let number: UInt32
    let name: String
    let read: @Sendable (CPU) -> UInt64
    /// False: the value is not allowed.
    let write: @Sendable (CPU, UInt64) -> Bool
    /// What CPUID must offer; nil: every processor has the register.
    var feature: CPUFeature?

    /// The same register for processors that offer `feature`.
    private func with(_ feature: CPUFeature) -> MSR {
        var row = self
        row.feature = feature
        return row
    }

    /// A register that is a field of the state. `check` says which values are allowed.
    private static func field(
        _ number: UInt32, _ name: String, _ path: any WritableKeyPath<CPUState, UInt64> & Sendable,
        _ check: @escaping @Sendable (UInt64) -> Bool = { _ in true }
    ) -> MSR {
        MSR(
            number: number, name: name, read: { $0.state.pointee[keyPath: path] },
            write: { cpu, value in
                guard check(value) else { return false }
                cpu.state.pointee[keyPath: path] = value
                return true
            })
    }

    private static func constant(_ number: UInt32, _ name: String, _ value: UInt64 = 0) -> MSR {
        MSR(number: number, name: name, read: { _ in value }, write: { _, _ in true })
    }

    private static func segmentBase(_ number: UInt32, _ name: String, _ index: Int) -> MSR {
        MSR(
            number: number, name: name, read: { $0.state.pointee.segments[index].base },
            write: { cpu, value in
                guard isCanonicalAddress(value) else { return false }
                cpu.state.pointee.segments[index].base = value
                return true
            })
    }

    /// Memory types of PAT and MTRRs: UC, WC, WT, WP, WB, and for PAT also UC- (7).
    private static func isMemoryType(_ type: UInt64, pat: Bool) -> Bool {
        type == 0 || type == 1 || type == 4 || type == 5 || type == 6 || pat && type == 7
    }

    private static func isPAT(_ value: UInt64) -> Bool {
        (0..<8).allSatisfy { isMemoryType(value >> UInt64(8 * $0) & 0xFF, pat: true) }
    }

    private static let fixedRanges: [(UInt32, String)] = [
        (0x250, "IA32_MTRR_FIX64K_00000"), (0x258, "IA32_MTRR_FIX16K_80000"), (0x259, "IA32_MTRR_FIX16K_A0000"),
        (0x268, "IA32_MTRR_FIX4K_C0000"), (0x269, "IA32_MTRR_FIX4K_C8000"), (0x26A, "IA32_MTRR_FIX4K_D0000"),
        (0x26B, "IA32_MTRR_FIX4K_D8000"), (0x26C, "IA32_MTRR_FIX4K_E0000"), (0x26D, "IA32_MTRR_FIX4K_E8000"),
        (0x26E, "IA32_MTRR_FIX4K_F0000"), (0x26F, "IA32_MTRR_FIX4K_F8000"),
    ]

    private static let mtrrRows: [MSR] =
        fixedRanges.enumerated().map { index, row in
            MSR(
                number: row.0, name: row.1, read: { $0.state.pointee.mtrrFixed[index] },
                write: { cpu, value in
                    guard (0..<8).allSatisfy({ isMemoryType(value >> UInt64(8 * $0) & 0xFF, pat: false) }) else {
                        return false
                    }
                    cpu.state.pointee.mtrrFixed[index] = value
                    return true
                })
        }
        + (0..<16).map { index in
            MSR(
                number: 0x200 + UInt32(index), name: "IA32_MTRR_PHYS\(index & 1 == 0 ? "BASE" : "MASK")\(index / 2)",
                read: { $0.state.pointee.mtrrVariable[index] },
                write: { cpu, value in
                    let reserved: UInt64 = index & 1 == 0 ? 0xF00 : 0x7FF
                    guard value & reserved == 0, value >> UInt64(cpu.features.physicalAddressBits) == 0 else {
                        return false
                    }
                    cpu.state.pointee.mtrrVariable[index] = value
                    return true
                })
        }
        + [
            // Eight variable ranges, fixed ranges, write-combining.
            MSR(number: 0xFE, name: "IA32_MTRRCAP", read: { _ in 0x508 }, write: { _, _ in false }),
            field(0x2FF, "IA32_MTRR_DEF_TYPE", \.mtrrDefaultType) {
                $0 & ~0xCFF == 0 && isMemoryType($0 & 0xFF, pat: false)
            },
        ]

    private static let architectural: [MSR] = [
        constant(0x17, "IA32_PLATFORM_ID"),
        constant(0x2A, "EBL_CR_POWERON"),
        // Locked, no VMX.
        MSR(number: 0x3A, name: "IA32_FEATURE_CONTROL", read: { _ in 1 }, write: { _, _ in false }),
        constant(0x8B, "IA32_BIOS_SIGN_ID", 0x0000_0001_0000_0000),
        MSR(
            number: 0x10, name: "IA32_TIME_STAMP_COUNTER", read: { $0.timeStampCounter },
            write: { cpu, value in
                cpu.state.pointee.tscOffset = value &- cpu.tscNow()
                return true
            }
        ).with(.tsc),
        field(0x174, "IA32_SYSENTER_CS", \.sysenterCS).with(.sysenter),
        field(0x175, "IA32_SYSENTER_ESP", \.sysenterESP, isCanonicalAddress).with(.sysenter),
        field(0x176, "IA32_SYSENTER_EIP", \.sysenterEIP, isCanonicalAddress).with(.sysenter),
        constant(0x179, "IA32_MCG_CAP").with(.mca),
        constant(0x17A, "IA32_MCG_STATUS").with(.mca),
        field(0x1A0, "IA32_MISC_ENABLE", \.miscEnable),
        constant(0x1D9, "IA32_DEBUGCTL"),
        constant(0x1DB, "MSR_LASTBRANCH_FROM"), constant(0x1DC, "MSR_LASTBRANCH_TO"),
        constant(0x1DD, "MSR_LASTINT_FROM"), constant(0x1DE, "MSR_LASTINT_TO"),
        field(0x277, "IA32_PAT", \.pat, isPAT).with(.pat),
        MSR(
            number: 0xC000_0080, name: "IA32_EFER", read: { $0.state.pointee.efer }, write: { $0.writeEFER($1) }),
        field(0xC000_0081, "IA32_STAR", \.star).with(.syscall),
        field(0xC000_0082, "IA32_LSTAR", \.lstar, isCanonicalAddress).with(.longMode),
        field(0xC000_0083, "IA32_CSTAR", \.cstar, isCanonicalAddress).with(.longMode),
        field(0xC000_0084, "IA32_FMASK", \.syscallMask) { $0 >> 32 == 0 }.with(.syscall),
        segmentBase(0xC000_0100, "IA32_FS_BASE", SegmentIndex.fs).with(.longMode),
        segmentBase(0xC000_0101, "IA32_GS_BASE", SegmentIndex.gs).with(.longMode),
        field(0xC000_0102, "IA32_KERNEL_GS_BASE", \.kernelGSBase, isCanonicalAddress).with(.longMode),
        field(0xC000_0103, "IA32_TSC_AUX", \.tscAux) { $0 >> 32 == 0 }.with(.rdtscp),
    ]

    /// What kernels touch on AMD processors of family 15 and later.
    private static let amd: [MSR] = [
        // HWCR: TscFreqSel.
        constant(0xC001_0015, "HWCR", 1 << 24),
        constant(0xC001_0010, "SYSCFG"), constant(0xC001_0055, "INT_PENDING_MSG"), constant(0xC001_001F, "NB_CFG"),
        constant(0xC001_0058, "MMIO_CONF_BASE"), constant(0xC001_0111, "SMM_BASE"), constant(0xC001_0112, "SMM_ADDR"),
        constant(0xC001_0113, "SMM_MASK"), constant(0xC001_0114, "VM_CR"), constant(0xC001_0117, "VM_HSAVE_PA"),
        constant(0xC001_001A, "TOP_MEM"), constant(0xC001_001D, "TOP_MEM2"), constant(0xC001_0061, "PSTATE_CUR_LIM"),
        constant(0xC001_0140, "OSVW_ID_LENGTH"), constant(0xC001_0141, "OSVW_STATUS"),
        constant(0xC001_1004, "CPUID_FEATURES"), constant(0xC001_1005, "CPUID_EXT_FEATURES"),
        constant(0xC001_100D, "CPUID_LAHF"), constant(0xC001_1020, "LS_CFG"), constant(0xC001_1022, "DC_CFG"),
        constant(0xC001_1023, "BU_CFG"), constant(0xC001_1029, "DE_CFG"), constant(0xC001_102A, "BU_CFG2"),
    ]

    static let common: [UInt32: MSR] = index(architectural + mtrrRows.map { $0.with(.mtrr) })
    static let withAMD: [UInt32: MSR] = index(architectural + mtrrRows.map { $0.with(.mtrr) } + amd)

    private static func index(_ rows: [MSR]) -> [UInt32: MSR] {
        Dictionary(rows.map { ($0.number, $0) }, uniquingKeysWith: { first, _ in first })
    }
}

extension CPU {
    /// The counter that RDTSC shows.
    var timeStampCounter: UInt64 { tscNow() &+ state.pointee.tscOffset }

    private func msr(_ number: UInt32) -> MSR? {
        let row = (features.vendor == .amd ? MSR.withAMD : MSR.common)[number]
        if let feature = row?.feature, !features.has(feature) { return nil }
        return row
    }

    /// Nil: #GP(0) is pending.
    func readMSR(_ number: UInt32) -> UInt64? {
        if let value = readDeviceMSR(number) { return value }
        if let row = msr(number) { return row.read(self) }
        return unknownMSR(number, "read")
    }

    /// False: #GP(0) is pending.
    func writeMSR(_ number: UInt32, _ value: UInt64) -> Bool {
        if let isAllowed = writeDeviceMSR(number, value) {
            if !isAllowed { generalProtection() }
            return isAllowed
        }
        guard let row = msr(number) else { return unknownMSR(number, "write") != nil }
        guard row.write(self, value) else {
            generalProtection()
            return false
        }
        return true
    }

    private func unknownMSR(_ number: UInt32, _ what: String) -> UInt64? {
        if loggedMSRs.insert(number).inserted { log("\(what) of unknown MSR \(hex(number, 8))") }
        generalProtection()
        return nil
    }
}
