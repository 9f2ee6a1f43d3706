/// Address translation (SDM vol. 3, chapter 4) and the slow paths of memory accesses.
extension CPU {
    /// Kind of access, as the page-fault error code tells it.
    enum Access {
        case read, write, fetch
    }

    /// Page-fault error code bits (SDM vol. 3, 4.7).
    private enum Code {
        static let present: UInt32 = 1, write: UInt32 = 2, user: UInt32 = 4, reserved: UInt32 = 8, fetch: UInt32 = 16
    }

    /// Entry bits, the same in all formats.
    private enum PTE {
        static let present: UInt64 = 1, writable: UInt64 = 2, user: UInt64 = 4, accessed: UInt64 = 0x20
        static let dirty: UInt64 = 0x40, large: UInt64 = 0x80, global: UInt64 = 0x100, noExecute: UInt64 = 1 << 63
    }

    /// Physical address bits (CPUID 8000_0008h).
    static let physicalBits: UInt64 = 40

    struct Translation {
        var physical: UInt64
        /// Stores are allowed and the dirty bit is set, so that the page may enter the store TLB.
        var isWritable: Bool
        /// Loads are allowed at the privilege asked for.
        var isReadable = true
    }

    // MARK: Translation

    /// Translates a linear address for an access at user or supervisor privilege; nil: #PF is pending, CR2 is set.
    func translate(_ linear: UInt64, _ access: Access, user: Bool) -> Translation? {
        let s = state.pointee
        guard s.cr0 & CR0.pg != 0 else {
            return Translation(physical: linear & 0xFFFF_FFFF, isWritable: true)
        }
        if s.cr4 & CR4.pae == 0 { return walk32(UInt32(truncatingIfNeeded: linear), access, user) }
        return walk64(linear, access, user, levels: s.efer & EFER.lma != 0 ? 4 : 3)
    }

    /// PAE and 4-level paging.
    private func walk64(_ linear: UInt64, _ access: Access, _ user: Bool, levels: Int) -> Translation? {
        let s = state.pointee
        let noExecuteEnabled = s.efer & EFER.nxe != 0
        let addressMask: UInt64 = ((1 << Self.physicalBits) - 1) & ~0xFFF
        var reservedMask: UInt64 = (~((1 << Self.physicalBits) - 1)) & 0x000F_FFFF_FFFF_FFFF
        if levels == 3 { reservedMask |= 0x7FF0_0000_0000_0000 }
        if !noExecuteEnabled { reservedMask |= PTE.noExecute }

        var table = s.cr3 & addressMask
        var writable = true, userPage = true, noExecute = false
        var level = levels
        if levels == 3 {
            // PAE: four pointers; only present and address count (SDM vol. 3, 4.4.1).
            table = s.cr3 & 0xFFFF_FFE0
            let entry = memory.read(table + (linear >> 30 & 3) * 8, size: 8)
            if entry & PTE.present == 0 { return pageFault(linear, access, user, 0) }
            table = entry & addressMask
            level = 2
        }
        while true {
            let shift = UInt64(12 + 9 * (level - 1))
            let address = table + (linear >> shift & 511) * 8
            var entry = memory.read(address, size: 8)
            if entry & PTE.present == 0 { return pageFault(linear, access, user, 0) }
            let isLeaf = level == 1 || level <= 3 && entry & PTE.large != 0 && !(levels == 3 && level == 3)
            var reserved = reservedMask
            if isLeaf && level > 1 { reserved |= ((1 << shift) - 1) & ~0x1FFF }
            if level == 4 { reserved |= PTE.large }
            if entry & reserved != 0 { return pageFault(linear, access, user, Code.present | Code.reserved) }
            writable = writable && entry & PTE.writable != 0
            userPage = userPage && entry & PTE.user != 0
            noExecute = noExecute || entry & PTE.noExecute != 0
            if !isLeaf {
                if entry & PTE.accessed == 0 { memory.write(address, size: 8, value: entry | PTE.accessed) }
                table = entry & addressMask
                level -= 1
                continue
            }
            guard let canWrite = permit(linear, access, user, writable, userPage, noExecute && noExecuteEnabled)
            else { return nil }
            let wanted = entry | PTE.accessed | (access == .write ? PTE.dirty : 0)
            if wanted != entry {
                memory.write(address, size: 8, value: wanted)
                entry = wanted
            }
            let offsetMask = (UInt64(1) << shift) - 1
            let physical = entry & addressMask & ~offsetMask | linear & offsetMask
            return Translation(physical: physical, isWritable: canWrite && entry & PTE.dirty != 0)
        }
    }

    /// 32-bit paging with 4 MiB pages (PSE-36).
    private func walk32(_ linear: UInt32, _ access: Access, _ user: Bool) -> Translation? {
        let s = state.pointee
        let wide = UInt64(linear)
        let directoryAddress = s.cr3 & 0xFFFF_F000 + UInt64(linear >> 22) * 4
        let directory = memory.read(directoryAddress, size: 4)
        if directory & PTE.present == 0 { return pageFault(wide, access, user, 0) }
        let isLarge = directory & PTE.large != 0 && s.cr4 & CR4.pse != 0
        if isLarge {
            // Bit 21 and what lies above the physical address width are reserved.
            if directory & (1 << 21) != 0 { return pageFault(wide, access, user, Code.present | Code.reserved) }
            guard
                let canWrite = permit(
                    wide, access, user, directory & PTE.writable != 0, directory & PTE.user != 0, false)
            else { return nil }
            let wanted = directory | PTE.accessed | (access == .write ? PTE.dirty : 0)
            if wanted != directory { memory.write(directoryAddress, size: 4, value: wanted) }
            let physical = (directory & 0xFFC0_0000) | (directory >> 13 & 0xFF) << 32 | wide & 0x3F_FFFF
            return Translation(physical: physical, isWritable: canWrite && wanted & PTE.dirty != 0)
        }
        let tableAddress = (directory & 0xFFFF_F000) + UInt64(linear >> 12 & 0x3FF) * 4
        let entry = memory.read(tableAddress, size: 4)
        if entry & PTE.present == 0 { return pageFault(wide, access, user, 0) }
        let both = directory & entry
        guard let canWrite = permit(wide, access, user, both & PTE.writable != 0, both & PTE.user != 0, false)
        else { return nil }
        if directory & PTE.accessed == 0 { memory.write(directoryAddress, size: 4, value: directory | PTE.accessed) }
        let wanted = entry | PTE.accessed | (access == .write ? PTE.dirty : 0)
        if wanted != entry { memory.write(tableAddress, size: 4, value: wanted) }
        return Translation(
            physical: entry & 0xFFFF_F000 | wide & 0xFFF, isWritable: canWrite && wanted & PTE.dirty != 0)
    }

    /// Access rights (SDM vol. 3, 4.6). Returns whether stores at this privilege are allowed; nil: #PF is pending.
    private func permit(
        _ linear: UInt64, _ access: Access, _ user: Bool, _ writable: Bool, _ userPage: Bool, _ noExecute: Bool
    ) -> Bool? {
        let s = state.pointee
        let canWrite: Bool
        if user {
            canWrite = writable && userPage
            if !userPage { _ = pageFault(linear, access, user, Code.present); return nil }
        } else {
            canWrite = writable || s.cr0 & CR0.wp == 0
            if userPage {
                if access == .fetch && s.cr4 & CR4.smep != 0 {
                    _ = pageFault(linear, access, user, Code.present)
                    return nil
                }
                if access != .fetch && s.cr4 & CR4.smap != 0 && s.flagsRest & RFLAGS.ac == 0 {
                    _ = pageFault(linear, access, user, Code.present)
                    return nil
                }
            }
        }
        if access == .write && !canWrite || access == .fetch && noExecute {
            _ = pageFault(linear, access, user, Code.present)
            return nil
        }
        return canWrite
    }

    private func pageFault(_ linear: UInt64, _ access: Access, _ user: Bool, _ bits: UInt32) -> Translation? {
        var code = bits | (user ? Code.user : 0)
        if access == .write { code |= Code.write }
        let s = state.pointee
        if access == .fetch && (s.efer & EFER.nxe != 0 && s.cr4 & CR4.pae != 0 || s.cr4 & CR4.smep != 0) {
            code |= Code.fetch
        }
        state.pointee.cr2 = linear
        raise(Vector.pf, errorCode: code)
        return nil
    }

    // MARK: Slow paths of loads and stores

    private var isUser: Bool { state.pointee.cpl == 3 }

    /// Bits 47–63 alike (SDM vol. 1, 3.3.7.1). Outside long mode every linear address has 32 bits.
    @inline(__always) func isCanonical(_ linear: UInt64) -> Bool {
        !state.pointee.isLongMode || UInt64(bitPattern: Int64(bitPattern: linear << 16) >> 16) == linear
    }

    private func width(_ linear: UInt64) -> UInt64 { state.pointee.isLongMode ? linear : linear & 0xFFFF_FFFF }

    /// Loads 1–8 bytes at any linear address with the privilege of the running code; fills the TLB.
    @inline(never) func loadSlow(_ linear: UInt64, size: Int) -> UInt64? {
        guard state.pointee.dataBreakpoints else { return load(linear, size: size, user: isUser, fillTLB: true) }
        guard let value = load(linear, size: size, user: isUser, fillTLB: !isWatched(page: linear)) else { return nil }
        checkDataBreakpoints(linear, size: size, write: false)
        return value
    }

    /// Stores likewise. All pages are checked before the first byte is written.
    @inline(never) func storeSlow(_ linear: UInt64, _ value: UInt64, size: Int) -> Bool {
        guard state.pointee.dataBreakpoints else {
            return store(linear, value, size: size, user: isUser, fillTLB: true)
        }
        guard store(linear, value, size: size, user: isUser, fillTLB: !isWatched(page: linear)) else { return false }
        checkDataBreakpoints(linear, size: size, write: true)
        return true
    }

    /// An implicit supervisor access (descriptor tables, TSS, interrupt stacks of CPL 0–2): load.
    func loadSystem(_ linear: UInt64, size: Int) -> UInt64? { load(linear, size: size, user: false, fillTLB: false) }

    /// An implicit supervisor access: store.
    func storeSystem(_ linear: UInt64, _ value: UInt64, size: Int) -> Bool {
        store(linear, value, size: size, user: false, fillTLB: false)
    }

    private func load(_ address: UInt64, size: Int, user: Bool, fillTLB: Bool) -> UInt64? {
        let linear = width(address)
        guard isCanonical(linear), isCanonical(linear &+ UInt64(size - 1)) else {
            generalProtection()
            return nil
        }
        let inPage = Int(linear & 0xFFF)
        if inPage + size > 4096 {
            // Two pages: check both before reading devices, which may have side effects.
            let firstSize = 4096 - inPage
            let secondLinear = width(linear &+ UInt64(firstSize))
            guard let first = translate(linear, .read, user: user),
                let second = translate(secondLinear, .read, user: user)
            else { return nil }
            var value: UInt64 = 0
            for i in 0..<size {
                let at = i < firstSize ? first.physical + UInt64(i) : second.physical + UInt64(i - firstSize)
                value |= memory.read(at, size: 1) << UInt64(8 * i)
            }
            return value
        }
        guard let translation = translate(linear, .read, user: user) else { return nil }
        let target = memory.target(ofPageAt: translation.physical)
        if fillTLB, let host = target.read { enter(state.pointee.readTLB, linear, host) }
        return memory.read(translation.physical, size: size)
    }

    private func store(_ address: UInt64, _ value: UInt64, size: Int, user: Bool, fillTLB: Bool) -> Bool {
        let linear = width(address)
        guard isCanonical(linear), isCanonical(linear &+ UInt64(size - 1)) else {
            generalProtection()
            return false
        }
        let inPage = Int(linear & 0xFFF)
        if inPage + size > 4096 {
            let firstSize = 4096 - inPage
            let secondLinear = width(linear &+ UInt64(firstSize))
            guard let first = translate(linear, .write, user: user),
                let second = translate(secondLinear, .write, user: user)
            else { return false }
            for i in 0..<size {
                let at = i < firstSize ? first.physical + UInt64(i) : second.physical + UInt64(i - firstSize)
                memory.write(at, size: 1, value: value >> UInt64(8 * i) & 0xFF)
            }
            return true
        }
        guard let translation = translate(linear, .write, user: user) else { return false }
        if fillTLB, !blocks.hasCode(page: translation.physical & memory.a20Mask) {
            let target = memory.target(ofPageAt: translation.physical)
            if let host = target.write, target.read == host { enter(state.pointee.writeTLB, linear, host) }
        }
        memory.write(translation.physical, size: size, value: value)
        return true
    }

    /// First half of a read-modify-write on the slow path: checks that the store will not fault, then loads.
    @inline(never) func loadForStore(_ address: UInt64, size: Int) -> UInt64? {
        let linear = width(address)
        guard isCanonical(linear), isCanonical(linear &+ UInt64(size - 1)) else {
            generalProtection()
            return nil
        }
        guard translate(linear, .write, user: isUser) != nil else { return nil }
        let last = width(linear &+ UInt64(size - 1))
        if last >> 12 != linear >> 12, translate(last & ~0xFFF, .write, user: isUser) == nil { return nil }
        return loadSlow(linear, size: size)
    }

    private func enter(_ table: UnsafeMutablePointer<TLBEntry>, _ linear: UInt64, _ host: UnsafeMutableRawPointer) {
        let page = linear & ~0xFFF
        table[Int(page >> 12 & TLBTables.mask)] = TLBEntry(
            tag: page, addend: UInt64(UInt(bitPattern: host)) &- page)
    }

    // MARK: Fetches

    /// Physical address of an instruction byte and the host address of its page (nil: not plain memory). Nil: a fault is pending.
    func translateFetch(_ linear: UInt64) -> (physical: UInt64, host: UnsafeMutableRawPointer?)? {
        let page = linear & ~0xFFF
        let entry = tlb.fetches(user: isUser) + Int(page >> 12) & (TLBTables.fetchCount - 1)
        if entry.pointee.tag == page { return (entry.pointee.physical | linear & 0xFFF, entry.pointee.host) }
        guard isCanonical(linear) else {
            generalProtection()
            return nil
        }
        guard let translation = translate(linear, .fetch, user: isUser) else { return nil }
        let physical = translation.physical & memory.a20Mask
        let host = memory.target(ofPageAt: physical).read
        entry.pointee = FetchEntry(tag: page, physical: physical & ~0xFFF, host: host)
        return (physical, host)
    }

    // MARK: Segmentation

    /// Limit and type check of a memory operand outside flat code, then its linear address; nil: #GP(0) or #SS(0) is pending.
    @inline(never) func segmented(_ index: Int, _ offset: UInt64, size: UInt64, write: Bool) -> UInt64? {
        let segment = state.pointee.segments[index]
        let last = offset &+ (size &- 1)
        let limit = UInt64(segment.limit)
        var isInside: Bool
        if segment.isExpandDown && !state.pointee.usesRealSegments {
            let top: UInt64 = segment.isBig ? 0xFFFF_FFFF : 0xFFFF
            isInside = offset > limit && last <= top
        } else {
            isInside = last <= limit
        }
        if !state.pointee.usesRealSegments {
            // A null selector leaves a cache that is not present.
            isInside = isInside && segment.isPresent && (write ? segment.isWritableData : segment.isReadable)
        }
        if !isInside {
            raise(index == SegmentIndex.ss ? Vector.ss : Vector.gp, errorCode: 0)
            return nil
        }
        return (segment.base &+ offset) & 0xFFFF_FFFF
    }
}
