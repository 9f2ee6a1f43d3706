import Glibc

/// The x87 between `FPUState` and the 108 bytes of FNSAVE and FRSTOR (SDM vol. 1, figure 8-9: 32-bit protected mode).
///
///     0 control   4 status   8 tags   12–27 pointers   28 ST(0)–ST(7), 10 bytes each
///
/// Pointers of the last instruction are zero: processors show them after exceptions only, and translated code raises none.
enum X87Image {
    private static let bytes = 108, registers = 28

    static func write(_ s: CPUPointer) {
        withUnsafeMutablePointer(to: &s.pointee.native.x87Image) { pointer in
            let image = UnsafeMutableRawPointer(pointer)
            memset(image, 0, bytes)
            let top = Int(s.pointee.fpu.top)
            image.storeBytes(of: s.pointee.fpu.control, toByteOffset: 0, as: UInt16.self)
            image.storeBytes(of: s.pointee.fpu.status & ~0x3800 | UInt16(top) << 11, toByteOffset: 4, as: UInt16.self)
            // FRSTOR takes 3 for empty and works the other tags out.
            var tags: UInt16 = 0
            for i in 0..<8 where s.pointee.fpu.emptyMask >> UInt8(i) & 1 != 0 { tags |= 3 << UInt16(2 * i) }
            image.storeBytes(of: tags, toByteOffset: 8, as: UInt16.self)
            for i in 0..<8 {
                let register = s.pointee.fpu.registers[(top + i) & 7]
                image.storeBytes(of: register.significand, toByteOffset: registers + 10 * i, as: UInt64.self)
                image.storeBytes(of: register.signExponent, toByteOffset: registers + 8 + 10 * i, as: UInt16.self)
            }
        }
    }

    static func read(_ s: CPUPointer) {
        withUnsafePointer(to: &s.pointee.native.x87Image) { pointer in
            let image = UnsafeRawPointer(pointer)
            let status = image.load(fromByteOffset: 4, as: UInt16.self)
            let tags = image.load(fromByteOffset: 8, as: UInt16.self)
            let top = Int(status >> 11 & 7)
            s.pointee.fpu.control = image.load(fromByteOffset: 0, as: UInt16.self)
            s.pointee.fpu.status = status & ~0x3800
            s.pointee.fpu.top = UInt8(top)
            var empty: UInt8 = 0
            for i in 0..<8 where tags >> UInt16(2 * i) & 3 == 3 { empty |= 1 << UInt8(i) }
            s.pointee.fpu.emptyMask = empty
            for i in 0..<8 {
                s.pointee.fpu.registers[(top + i) & 7] = X87Register(
                    significand: image.loadUnaligned(fromByteOffset: registers + 10 * i, as: UInt64.self),
                    signExponent: image.loadUnaligned(fromByteOffset: registers + 8 + 10 * i, as: UInt16.self))
            }
        }
    }
}
