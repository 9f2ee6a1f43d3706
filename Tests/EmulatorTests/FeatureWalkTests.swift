import Testing

@testable import Emulator

/// Every feature that there is, offered and not: CPUID, CR4, MSRs and what executes say the same.
@Suite struct FeatureWalkTests {
    /// How a feature shows itself besides in CPUID.
    private enum Sign {
        /// 64-bit code that runs with it and is #UD without.
        case code([UInt8])
        case cr4(UInt64)
        case msr(UInt32)
        case efer(UInt64)
        /// The page-table bit of a 1 GiB page.
        case gigabytePages
        /// Nothing but its bit: what it stands for is there in any case, or the board's.
        case bitOnly
    }

    private static let signs: [(CPUFeature, Sign)] = [
        // addps, addpd, haddps, pshufb, pmulld, pcmpgtq xmm0, xmm1; fld1; paddb mm0, mm1
        (.fpu, .code([0xD9, 0xE8])), (.mmx, .code([0x0F, 0xFC, 0xC1])), (.sse, .code([0x0F, 0x58, 0xC1])),
        (.sse2, .code([0x66, 0x0F, 0x58, 0xC1])), (.sse3, .code([0xF2, 0x0F, 0x7C, 0xC1])),
        (.ssse3, .code([0x66, 0x0F, 0x38, 0x00, 0xC1])), (.sse41, .code([0x66, 0x0F, 0x38, 0x40, 0xC1])),
        (.sse42, .code([0x66, 0x0F, 0x38, 0x37, 0xC1])), (.aes, .code([0x66, 0x0F, 0x38, 0xDC, 0xC1])),
        (.pclmulqdq, .code([0x66, 0x0F, 0x3A, 0x44, 0xC1, 0])), (.sha, .code([0x0F, 0x38, 0xC8, 0xC1])),
        (.popcnt, .code([0xF3, 0x0F, 0xB8, 0xC1])), (.cmov, .code([0x0F, 0x44, 0xC1])),
        // cmpxchg8b, cmpxchg16b, movbe, clflush, clflushopt, clwb, fxsave [rbx]; rdrand, rdseed, rdpid eax; lahf
        (.cmpxchg8b, .code([0x0F, 0xC7, 0x0B])), (.cmpxchg16b, .code([0x48, 0x0F, 0xC7, 0x0B])),
        (.movbe, .code([0x0F, 0x38, 0xF0, 0x03])), (.clflush, .code([0x0F, 0xAE, 0x3B])),
        (.clflushopt, .code([0x66, 0x0F, 0xAE, 0x3B])), (.clwb, .code([0x66, 0x0F, 0xAE, 0x33])),
        (.fxsr, .code([0x0F, 0xAE, 0x03])), (.rdrand, .code([0x0F, 0xC7, 0xF0])),
        (.rdseed, .code([0x0F, 0xC7, 0xF8])), (.rdpid, .code([0xF3, 0x0F, 0xC7, 0xF8])), (.lahf, .code([0x9F])),
        // andn, shlx; adcx; monitor; clac; invpcid rax, [rbx]; rdtsc, rdtscp; rdfsbase; rdmsr of IA32_EFER
        (.bmi1, .code([0xC4, 0xE2, 0x70, 0xF2, 0xC1])), (.bmi2, .code([0xC4, 0xE2, 0x71, 0xF7, 0xC1])),
        (.adx, .code([0x66, 0x0F, 0x38, 0xF6, 0xC1])), (.monitor, .code([0x0F, 0x01, 0xC8])),
        (.smap, .code([0x0F, 0x01, 0xCA])), (.invpcid, .code([0x66, 0x0F, 0x38, 0x82, 0x03])),
        (.tsc, .code([0x0F, 0x31])), (.rdtscp, .code([0x0F, 0x01, 0xF9])),
        (.fsgsbase, .code([0xF3, 0x48, 0x0F, 0xAE, 0xC0])),
        (.msr, .code([0xB9, 0x1B, 0, 0, 0, 0x0F, 0x32])), (.longMode, .efer(EFER.lme)), (.noExecute, .efer(EFER.nxe)),
        (.syscall, .efer(EFER.sce)), (.vme, .cr4(CR4.vme | CR4.pvi)), (.de, .cr4(CR4.de)), (.pse, .cr4(CR4.pse)),
        (.pae, .cr4(CR4.pae)), (.mce, .cr4(CR4.mce)), (.pge, .cr4(CR4.pge)), (.pcid, .cr4(CR4.pcide)),
        (.smep, .cr4(CR4.smep)), (.umip, .cr4(CR4.umip)), (.sysenter, .msr(0x174)), (.mtrr, .msr(0xFE)),
        (.mca, .msr(0x179)), (.pat, .msr(0x277)), (.gigabytePages, .gigabytePages), (.apic, .bitOnly),
        (.tscDeadline, .bitOnly), (.x2APIC, .bitOnly), (.hypervisor, .bitOnly), (.pse36, .bitOnly), (.erms, .bitOnly),
        (.prefetchw, .bitOnly),
    ]

    /// LZCNT is BSR where it is not offered, so that its result tells.
    private static let scan: [UInt8] = [0xF3, 0x0F, 0xBD, 0xC1]

    @Test func everyFeatureHasItsSign() {
        let shown = Set(Self.signs.map(\.0) + [.lzcnt])
        for (name, feature) in CPUFeature.names where CPUFeatures.supported[feature] {
            #expect(shown.contains(feature), "\(name)")
        }
    }

    private func rig(_ feature: CPUFeature, offered: Bool) throws -> SystemRig {
        var features = try CPUFeatures(model: "max")
        features.set(feature, offered)
        let rig = try SystemRig(.long64, features: features)
        rig.cpu.readDeviceMSR = { $0 == 0x1B ? 0xFEE0_0900 : nil }
        rig.s.pointee.cr4 |= rig.cpu.cr4Bits & (CR4.osfxsr | CR4.fsgsbase)
        return rig
    }

    private func bit(_ rig: SystemRig, _ feature: CPUFeature) -> Bool {
        let leaf: CPUIDResult
        switch feature.word {
        case .leaf1ECX, .leaf1EDX: leaf = rig.cpu.cpuid(1, 0)
        case .leaf7EBX, .leaf7ECX: leaf = rig.cpu.cpuid(7, 0)
        case .extendedECX, .extendedEDX: leaf = rig.cpu.cpuid(0x8000_0001, 0)
        }
        let word =
            switch feature.word {
            case .leaf7EBX: leaf.ebx
            case .leaf1ECX, .leaf7ECX, .extendedECX: leaf.ecx
            case .leaf1EDX, .extendedEDX: leaf.edx
            }
        return word >> UInt32(feature.bit) & 1 != 0
    }

    @Test(arguments: signs.indices, [true, false]) func whatCPUIDSaysIsSo(index: Int, offered: Bool) throws {
        let (feature, sign) = Self.signs[index]
        let rig = try rig(feature, offered: offered)
        #expect(bit(rig, feature) == offered)
        switch sign {
        case .code(let bytes):
            rig[Register.rbx] = SystemRig.data
            rig[Register.rax] = 3
            #expect(rig.run(bytes) == (offered ? nil : Vector.ud))
        case .cr4(let mask): #expect(rig.cpu.cr4Bits & mask == (offered ? mask : 0))
        case .msr(let number): #expect((rig.cpu.readMSR(number) != nil) == offered)
        case .efer(let mask):
            rig.s.pointee.efer = 0
            #expect(rig.cpu.writeEFER(mask) == offered)
        case .gigabytePages:
            rig.write64(0x1_1003, at: 0x1_0000)
            rig.write64(0x83, at: 0x1_1000)
            rig.s.pointee.cr4 |= CR4.pae
            rig.s.pointee.cr3 = 0x1_0000
            rig.s.pointee.cr0 |= CR0.pg
            rig.cpu.flushTLB()
            #expect((rig.cpu.translate(0x1234, .read, user: false)?.physical == 0x1234) == offered)
            if !offered { #expect(rig.s.pointee.fault.errorCode == 9, "a reserved bit") }
        case .bitOnly: break
        }
    }

    @Test(arguments: [true, false]) func LZCNTIsAnotherScanWhereItIsNotOffered(offered: Bool) throws {
        let rig = try rig(.lzcnt, offered: offered)
        #expect(bit(rig, .lzcnt) == offered)
        rig[Register.rcx] = 1 << 20
        #expect(rig.run(Self.scan) == nil)
        #expect(rig[Register.rax] == (offered ? 11 : 20))
    }
}

@Suite struct CPUModelTests {
    @Test func everyRowOfTheTableIsAModel() throws {
        #expect(CPUModel.all.count == 30)
        for model in CPUModel.all {
            let features = try CPUFeatures(model: model.name)
            #expect(features.signature == model.signature)
            #expect(features.vendor == model.vendor)
        }
    }

    @Test func namesAreQEMUs() throws {
        let qemu = try CPUFeatures(model: "qemu64")
        #expect(qemu.vendor == .amd && qemu.signature == 0x0006_0FB1)
        #expect(qemu.has(.longMode) && qemu.has(.sse3) && !qemu.has(.ssse3))
        #expect(try !CPUFeatures(model: "pentium3").has(.sse2))
        #expect(try !CPUFeatures(model: "486").has(.cmov))
        #expect(try CPUFeatures(model: "nehalem").has(.sse42))
        #expect(try CPUFeatures(model: "Haswell-noTSX-v2").has(.bmi2))
        #expect(try CPUFeatures(model: "x86-64-v3").has(.movbe))
        let host = try CPUFeatures(model: "host,migratable=no,pmu=off")
        #expect(host.has(.sha) && host.has(.adx))
    }

    @Test func featuresComeAndGoWithWhatTheyBuildOn() throws {
        let less = try CPUFeatures(model: "max,-sse2,movbe=off")
        #expect(less.has(.sse) && !less.has(.sse2) && !less.has(.sse42) && !less.has(.aes) && !less.has(.movbe))
        let more = try CPUFeatures(model: "qemu64,+ssse3,sse4_1=on,+rdrand")
        #expect(more.has(.ssse3) && more.has(.sse41) && more.has(.rdrand))
        #expect(try !CPUFeatures(model: "qemu64,+sse4.2").has(.sse42), "without what it builds on there is none")
    }

    @Test func identityCanBeChosen() throws {
        let cpu = try CPUFeatures(model: "max,vendor=AuthenticAMD,family=23,model=0x31,stepping=2,model-id=Mine")
        #expect(cpu.vendor == .amd && cpu.brand == "Mine")
        #expect(cpu.signature == 0x0083_0F12)
    }

    @Test(arguments: [
        ("i9", "there is no processor 'i9'"), ("max,+warp", "'warp'"), ("max,sse2=maybe", "sse2=maybe"),
        ("max,vendor=Acme", "vendor=Acme"), ("max,family=x", "family=x"), ("", "''"),
    ])
    func whatIsWrongIsNamed(text: String, wanted: String) {
        #expect { try CPUFeatures(model: text) } throws: { "\($0)".contains(wanted) }
    }
}
