/// Address translation (SDM vol. 3, chapter 4). Who asks for it: LinearAccess.swift.
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
        /// The page survives a CR3 load (its global bit, with CR4.PGE).
        var isGlobal = false
        /// log2 of the bytes of the page when it is larger than 4 KiB, else 0.
        var largeShift: UInt8 = 0
        /// A user page that SMAP would close to the supervisor but for EFLAGS.AC.
        var isOpenedByAC = false
    }

    // MARK: Translation

    /// Translates a linear address for an access at user or supervisor privilege; nil: #PF is pending, CR2 is set.
    func translate(_ linear: UInt64, _ access: Access, user: Bool) -> Translation? {
        guard state.pointee.cr0 & CR0.pg != 0 else {
            return Translation(physical: linear & 0xFFFF_FFFF, isWritable: true)
        }
        if state.pointee.cr4 & CR4.pae == 0 { return walk32(UInt32(truncatingIfNeeded: linear), access, user) }
        return walk64(linear, access, user, levels: state.pointee.efer & EFER.lma != 0 ? 4 : 3)
    }

    /// PAE and 4-level paging.
    private func walk64(_ linear: UInt64, _ access: Access, _ user: Bool, levels: Int) -> Translation? {
        let noExecuteEnabled = state.pointee.efer & EFER.nxe != 0
        let addressMask: UInt64 = ((1 << Self.physicalBits) - 1) & ~0xFFF
        var reservedMask: UInt64 = (~((1 << Self.physicalBits) - 1)) & 0x000F_FFFF_FFFF_FFFF
        if levels == 3 { reservedMask |= 0x7FF0_0000_0000_0000 }
        if !noExecuteEnabled { reservedMask |= PTE.noExecute }

        var table = state.pointee.cr3 & addressMask
        var writable = true, userPage = true, noExecute = false
        let hasGigabytePages = features.has(.gigabytePages)
        var level = levels
        if levels == 3 {
            // PAE: four pointers, read when CR3 was loaded; only present and address count (SDM vol. 3, 4.4.1).
            let entry = state.pointee.pdpte[Int(linear >> 30 & 3)]
            if entry & PTE.present == 0 { return pageFault(linear, access, user, 0) }
            table = entry & addressMask
            level = 2
        }
        if let known = tlb.walk(linear) {
            table = known.pointee.table
            writable = known.pointee.isWritable
            userPage = known.pointee.isUser
            noExecute = known.pointee.isNoExecute
            level = 1
        }
        while true {
            let shift = UInt64(12 + 9 * (level - 1))
            let address = table + (linear >> shift & 511) * 8
            var entry = memory.read(address, size: 8)
            if entry & PTE.present == 0 { return pageFault(linear, access, user, 0) }
            let isLeaf = level == 1 || level <= 3 && entry & PTE.large != 0 && !(levels == 3 && level == 3)
            var reserved = reservedMask
            if isLeaf && level > 1 { reserved |= ((1 << shift) - 1) & ~0x1FFF }
            if level == 4 || level == 3 && !hasGigabytePages { reserved |= PTE.large }
            if entry & reserved != 0 { return pageFault(linear, access, user, Code.present | Code.reserved) }
            writable = writable && entry & PTE.writable != 0
            userPage = userPage && entry & PTE.user != 0
            noExecute = noExecute || entry & PTE.noExecute != 0
            if !isLeaf {
                if entry & PTE.accessed == 0 { memory.write(address, size: 8, value: entry | PTE.accessed) }
                table = entry & addressMask
                level -= 1
                if level == 1 {
                    tlb.enterWalk(
                        linear, table: table, isWritable: writable, isUser: userPage, isNoExecute: noExecute)
                }
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
            return Translation(
                physical: physical, isWritable: canWrite && entry & PTE.dirty != 0,
                isGlobal: entry & PTE.global != 0 && state.pointee.cr4 & CR4.pge != 0,
                largeShift: level > 1 ? UInt8(shift) : 0, isOpenedByAC: isOpenedByAC(user, userPage))
        }
    }

    /// 32-bit paging with 4 MiB pages (PSE-36).
    private func walk32(_ linear: UInt32, _ access: Access, _ user: Bool) -> Translation? {
        let cr4 = state.pointee.cr4
        let wide = UInt64(linear)
        let directoryAddress = state.pointee.cr3 & 0xFFFF_F000 + UInt64(linear >> 22) * 4
        let directory = memory.read(directoryAddress, size: 4)
        if directory & PTE.present == 0 { return pageFault(wide, access, user, 0) }
        let isLarge = directory & PTE.large != 0 && cr4 & CR4.pse != 0
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
            return Translation(
                physical: physical, isWritable: canWrite && wanted & PTE.dirty != 0,
                isGlobal: directory & PTE.global != 0 && cr4 & CR4.pge != 0, largeShift: 22,
                isOpenedByAC: isOpenedByAC(user, directory & PTE.user != 0))
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
            physical: entry & 0xFFFF_F000 | wide & 0xFFF, isWritable: canWrite && wanted & PTE.dirty != 0,
            isGlobal: entry & PTE.global != 0 && cr4 & CR4.pge != 0,
            isOpenedByAC: isOpenedByAC(user, both & PTE.user != 0))
    }

    /// Access rights (SDM vol. 3, 4.6). Returns whether stores at this privilege are allowed; nil: #PF is pending.
    private func permit(
        _ linear: UInt64, _ access: Access, _ user: Bool, _ writable: Bool, _ userPage: Bool, _ noExecute: Bool
    ) -> Bool? {
        let s = state
        let canWrite: Bool
        if user {
            canWrite = writable && userPage
            if !userPage { _ = pageFault(linear, access, user, Code.present); return nil }
        } else {
            canWrite = writable || s.pointee.cr0 & CR0.wp == 0
            if userPage {
                if access == .fetch && s.pointee.cr4 & CR4.smep != 0 {
                    _ = pageFault(linear, access, user, Code.present)
                    return nil
                }
                if access != .fetch && s.pointee.cr4 & CR4.smap != 0
                    && (s.pointee.flagsRest & RFLAGS.ac == 0 || s.pointee.cpl == 3)
                {
                    // What the processor does by itself for user code is closed whatever that sets AC to.
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

    private func isOpenedByAC(_ user: Bool, _ userPage: Bool) -> Bool {
        userPage && !user && state.pointee.cr4 & CR4.smap != 0
    }

    private func pageFault(_ linear: UInt64, _ access: Access, _ user: Bool, _ bits: UInt32) -> Translation? {
        var code = bits | (user ? Code.user : 0)
        if access == .write { code |= Code.write }
        let cr4 = state.pointee.cr4
        if access == .fetch && (state.pointee.efer & EFER.nxe != 0 && cr4 & CR4.pae != 0 || cr4 & CR4.smep != 0) {
            code |= Code.fetch
        }
        state.pointee.cr2 = linear
        raise(Vector.pf, errorCode: code)
        return nil
    }
}
