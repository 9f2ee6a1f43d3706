/// Segment and gate descriptors as they stand in the GDT, LDT and IDT (SDM vol. 3, 3.4.5, 3.5 and 5.8.3).
///
/// | bits | segment | gate |
/// | --- | --- | --- |
/// | 0–15 | limit 0–15 | offset 0–15 |
/// | 16–31 | base 0–15 | selector |
/// | 32–39 | base 16–23 | parameter count 0–4; IST 0–2 in long mode |
/// | 40–43 | type | type |
/// | 44 | S: 1 code or data | 0 |
/// | 45–46 | DPL | DPL |
/// | 47 | P | P |
/// | 48–51 | limit 16–19 | offset 16–31 (48–63) |
/// | 52–55 | AVL, L, D/B, G | |
/// | 56–63 | base 24–31 | |
///
/// System descriptors and gates of long mode have 16 bytes: the third dword is bits 32–63 of base or offset.
struct Descriptor {
    /// The first eight bytes.
    var low: UInt64 = 0
    /// Bytes 8–15; 0 for eight-byte descriptors.
    var high: UInt64 = 0
    /// Linear address of the descriptor.
    var address: UInt64 = 0

    var type: UInt8 { UInt8(low >> 40 & 0xF) }
    var isCodeOrData: Bool { low >> 44 & 1 != 0 }
    var dpl: UInt8 { UInt8(low >> 45 & 3) }
    var isPresent: Bool { low >> 47 & 1 != 0 }
    var isCode: Bool { low >> 43 & 3 == 3 }
    var isConforming: Bool { low >> 42 & 7 == 7 }
    var isWritableData: Bool { low >> 41 & 0xD == 0x9 && !isCode }
    var isReadable: Bool { isCodeOrData && (!isCode || type & 2 != 0) }
    var isAccessed: Bool { type & 1 != 0 }
    var isLong: Bool { low >> 53 & 1 != 0 }
    var isBig: Bool { low >> 54 & 1 != 0 }

    var base: UInt64 { low >> 16 & 0xFF_FFFF | low >> 32 & 0xFF00_0000 | high << 32 }
    /// Last valid offset, granularity applied.
    var limit: UInt32 {
        let raw = UInt32(low & 0xFFFF | low >> 32 & 0xF_0000)
        return low >> 55 & 1 != 0 ? raw << 12 | 0xFFF : raw
    }

    var gateSelector: UInt16 { UInt16(low >> 16 & 0xFFFF) }
    var gateOffset: UInt64 { low & 0xFFFF | low >> 32 & 0xFFFF_0000 | high << 32 }
    var gateParameters: Int { Int(low >> 32 & 0x1F) }
    var gateStackTable: Int { Int(low >> 32 & 7) }

    /// The register image that loading this descriptor gives.
    func segment(_ selector: UInt16) -> Segment {
        Segment(selector: selector, attributes: UInt16(low >> 40 & 0xF0FF), limit: limit, base: base)
    }
}

/// Types of system descriptors and gates (SDM vol. 3, table 3-2).
enum SystemType {
    static let tss16: UInt8 = 1, ldt: UInt8 = 2, busyTSS16: UInt8 = 3, callGate16: UInt8 = 4, taskGate: UInt8 = 5
    static let interruptGate16: UInt8 = 6, trapGate16: UInt8 = 7, tss32: UInt8 = 9, busyTSS32: UInt8 = 0xB
    static let callGate32: UInt8 = 0xC, interruptGate32: UInt8 = 0xE, trapGate32: UInt8 = 0xF
}

extension UInt16 {
    /// Requested privilege level of a selector.
    var rpl: UInt8 { UInt8(self & 3) }
    /// A selector that names no segment (index 0 of the GDT, any RPL).
    var isNullSelector: Bool { self & 0xFFFC == 0 }
}

/// Bit 47 repeated above: an address that four-level paging can translate.
@inline(__always) func isCanonicalAddress(_ address: UInt64) -> Bool {
    let top = Int64(bitPattern: address) >> 47
    return top == 0 || top == -1
}

extension CPU {
    /// Raises a fault whose error code names a selector (SDM vol. 3, 6.13).
    @discardableResult
    func fault(_ vector: UInt8, selector: UInt16) -> Outcome { raise(vector, errorCode: UInt32(selector & 0xFFFC)) }

    /// Linear address of a selector's descriptor; nil when `bytes` of it do not lie inside its table.
    private func descriptorAddress(_ selector: UInt16, bytes: UInt32) -> UInt64? {
        let offset = UInt32(selector & 0xFFF8)
        if selector & 4 == 0 {
            guard offset + bytes - 1 <= UInt32(state.pointee.gdtr.limit) else { return nil }
            return state.pointee.gdtr.base &+ UInt64(offset)
        }
        guard state.pointee.ldtr.isPresent, offset + bytes - 1 <= state.pointee.ldtr.limit else { return nil }
        return state.pointee.ldtr.base &+ UInt64(offset)
    }

    /// Reads an eight-byte descriptor. Outside of its table: `vector` with the selector.
    func readDescriptor(_ selector: UInt16, orRaise vector: UInt8 = Vector.gp) -> Descriptor? {
        guard let address = descriptorAddress(selector, bytes: 8) else {
            fault(vector, selector: selector)
            return nil
        }
        guard let low = loadSystem(address, size: 8) else { return nil }
        return Descriptor(low: low, address: address)
    }

    /// Completes a system descriptor or call gate that long mode widens to 16 bytes; others are returned as they are.
    /// The type field of the upper half must be 0 (SDM vol. 3, 3.5).
    func widened(_ descriptor: Descriptor, _ selector: UInt16, orRaise vector: UInt8 = Vector.gp) -> Descriptor? {
        guard state.pointee.isLongMode else { return descriptor }
        guard descriptorAddress(selector, bytes: 16) != nil else {
            fault(vector, selector: selector)
            return nil
        }
        guard let high = loadSystem(descriptor.address &+ 8, size: 8) else { return nil }
        guard high >> 40 & 0x1F == 0 else {
            fault(vector, selector: selector)
            return nil
        }
        var result = descriptor
        result.high = high & 0xFFFF_FFFF
        return result
    }

    /// Sets the accessed bit in memory and in `descriptor`, as every load of a segment register does.
    func markAccessed(_ descriptor: inout Descriptor) -> Bool {
        guard !descriptor.isAccessed else { return true }
        descriptor.low |= 1 << 40
        return storeSystem(descriptor.address &+ 5, descriptor.low >> 40 & 0xFF, size: 1)
    }

    /// Sets or clears the busy bit of a TSS descriptor in memory.
    func setBusy(_ descriptor: Descriptor, _ busy: Bool) -> Bool {
        let byte = descriptor.low >> 40 & 0xFF
        return storeSystem(descriptor.address &+ 5, busy ? byte | 2 : byte & ~2, size: 1)
    }
}
