import Testing

@testable import Emulator

/// What CPUID does not show does not execute.
@Suite struct FeatureGateTests {
    @Test func aHiddenInstructionIsUndefined() throws {
        var features = CPUFeatures()
        // movbe eax, [ebx]; popcnt eax, ebx; cmovz eax, ebx; pshufb xmm0, xmm1; rdtscp; clac
        let all: [(CPUFeature, [UInt8])] = [
            (.movbe, [0x0F, 0x38, 0xF0, 0x03]), (.popcnt, [0xF3, 0x0F, 0xB8, 0xC3]), (.cmov, [0x0F, 0x44, 0xC3]),
            (.ssse3, [0x66, 0x0F, 0x38, 0x00, 0xC1]), (.rdtscp, [0x0F, 0x01, 0xF9]), (.smap, [0x0F, 0x01, 0xCA]),
        ]
        for offered in [true, false] {
            for (feature, _) in all { features.set(feature, offered) }
            let rig = try SystemRig(.protected32, features: features)
            rig.s.pointee.cr4 |= CR4.osfxsr
            for (_, bytes) in all {
                rig.enter(privilege: 0)
                rig[Register.rbx] = SystemRig.data
                #expect(rig.run(bytes) == (offered ? nil : Vector.ud), "\(bytes)")
            }
        }
    }

    @Test func everyRowOfAnExtensionNamesItsFeature() {
        for row in OpcodeTable.shared.rows where row.family == .sse || row.family == .x87 {
            #expect(row.feature != nil, "\(row.mnemonic)")
        }
    }
}
