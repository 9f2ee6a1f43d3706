/// A VEX prefix (SDM vol. 2, 2.3.5): C5 with one byte, C4 with two. Outside of 64-bit mode the same bytes are LDS and LES, whose
/// ModRM cannot name a register.
///
/// | byte | bits |
/// | --- | --- |
/// | C5: 1, C4: 2 | 7 R̄ (C5) or W (C4), 6–3 v̄v̄v̄v̄, 2 L, 1–0 mandatory prefix: none, 66, F3, F2 |
/// | C4: 1 | 7 R̄, 6 X̄, 5 B̄, 4–0 map: 1 0F, 2 0F 38, 3 0F 3A |
struct VEXPrefix {
    var isPresent = false
    var prefix = OpcodeRow.MandatoryPrefix.none
    var register: UInt8 = 0
    var isLong = false
    /// As a REX prefix has them: W, R, X, B.
    var rex: UInt8 = 0

    /// - Returns: nil for a map that does not exist.
    static func read(_ first: UInt8, is64: Bool, _ next: () -> UInt8) -> (prefix: VEXPrefix, map: OpcodeRow.Map)? {
        var vex = VEXPrefix()
        vex.isPresent = true
        var map = OpcodeRow.Map.vex0F
        var last = next()
        if first == 0xC5 {
            vex.rex = last & 0x80 == 0 ? 4 : 0
        } else {
            vex.rex = (last ^ 0xE0) >> 5 & 7
            switch last & 0x1F {
            case 1: break
            case 2: map = .vex38
            case 3: map = .vex3A
            default: return nil
            }
            last = next()
            vex.rex |= last & 0x80 != 0 ? 8 : 0
        }
        // Eight registers outside of 64-bit mode.
        if !is64 { vex.rex &= 8 }
        vex.register = ~(last >> 3) & (is64 ? 15 : 7)
        vex.isLong = last & 4 != 0
        switch last & 3 {
        case 1: vex.prefix = .p66
        case 2: vex.prefix = .pF3
        case 3: vex.prefix = .pF2
        default: break
        }
        return (vex, map)
    }
}
