/// SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the FSGSBASE group (SDM vol. 2; AMD APM vol. 3, SYSCALL).
///
/// Where they exist depends on the vendor: Intel has SYSCALL in 64-bit mode only and SYSENTER everywhere, AMD has
/// SYSCALL
/// everywhere and SYSENTER in legacy mode only.
extension CPU {
    /// Flat 4 GiB segments, present and accessed: G, P, S, type read/write or execute/read.
    private static let flatData: UInt16 = 0xC093
    private static let flatCode32: UInt16 = 0xC09B
    private static let flatCode64: UInt16 = 0xA09B

    private func setFlat(code selector: UInt16, _ attributes: UInt16, privilege: UInt8, stack: UInt16) {
        let dpl = UInt16(privilege) << 5
        state.pointee.segments[SegmentIndex.cs] = Segment(
            selector: selector, attributes: attributes | dpl, limit: 0xFFFF_FFFF, base: 0)
        state.pointee.segments[SegmentIndex.ss] = Segment(
            selector: stack, attributes: Self.flatData | dpl, limit: 0xFFFF_FFFF, base: 0)
    }

    func systemCall() -> Outcome {
        let s = state
        guard s.pointee.isProtected, s.pointee.efer & EFER.sce != 0, features.vendor == .amd || s.pointee.is64Bit else {
            return undefinedOpcode()
        }
        let selector = UInt16(truncatingIfNeeded: s.pointee.star >> 32) & 0xFFFC
        if s.pointee.isLongMode {
            let target = s.pointee.is64Bit ? s.pointee.lstar : s.pointee.cstar
            s.pointee.gpr[Register.rcx] = s.pointee.rip
            s.pointee.gpr[11] = UInt64(s.flags & ~RFLAGS.rf)
            s.flags &= ~(UInt32(truncatingIfNeeded: s.pointee.syscallMask) | RFLAGS.rf)
            setFlat(code: selector, Self.flatCode64, privilege: 0, stack: selector &+ 8)
            s.pointee.rip = target
        } else {
            s.pointee.gpr[Register.rcx] = s.pointee.rip & 0xFFFF_FFFF
            s.pointee.flagsRest &= ~(RFLAGS.vm | RFLAGS.interrupt | RFLAGS.rf)
            setFlat(code: selector, Self.flatCode32, privilege: 0, stack: selector &+ 8)
            s.pointee.rip = s.pointee.star & 0xFFFF_FFFF
        }
        updateMode()
        return .leave
    }

    func systemReturn(_ op: Op) -> Outcome {
        let s = state
        guard s.pointee.isProtected, s.pointee.efer & EFER.sce != 0, features.vendor == .amd || s.pointee.is64Bit else {
            return undefinedOpcode()
        }
        guard s.pointee.cpl == 0 else { return generalProtection() }
        let base = UInt16(truncatingIfNeeded: s.pointee.star >> 48)
        let isWide = s.pointee.is64Bit && op.pointee.prefixes.contains(.rexW)
        let target = isWide ? s.pointee.gpr[Register.rcx] : s.pointee.gpr[Register.rcx] & 0xFFFF_FFFF
        guard isCanonical(target) else { return generalProtection() }
        if s.pointee.isLongMode {
            let keep: UInt32 = RFLAGS.rf | RFLAGS.vm
            s.flags = UInt32(truncatingIfNeeded: s.pointee.gpr[11]) & ~keep
        } else {
            s.pointee.flagsRest |= RFLAGS.interrupt
        }
        let code = (base &+ (isWide ? 16 : 0)) | 3
        setFlat(code: code, isWide ? Self.flatCode64 : Self.flatCode32, privilege: 3, stack: (base &+ 8) | 3)
        s.pointee.rip = target
        updateMode()
        return .leave
    }

    func systemEnter() -> Outcome {
        let s = state
        if features.vendor == .amd, s.pointee.isLongMode { return undefinedOpcode() }
        guard s.pointee.isProtected, s.pointee.sysenterCS & 0xFFFC != 0 else { return generalProtection() }
        let selector = UInt16(truncatingIfNeeded: s.pointee.sysenterCS) & 0xFFFC
        let isLong = s.pointee.isLongMode
        s.pointee.flagsRest &= ~(RFLAGS.vm | RFLAGS.interrupt | RFLAGS.rf)
        setFlat(code: selector, isLong ? Self.flatCode64 : Self.flatCode32, privilege: 0, stack: selector &+ 8)
        let mask: UInt64 = isLong ? ~0 : 0xFFFF_FFFF
        s.pointee.gpr[Register.rsp] = s.pointee.sysenterESP & mask
        s.pointee.rip = s.pointee.sysenterEIP & mask
        updateMode()
        return .leave
    }

    func systemExit(_ op: Op) -> Outcome {
        let s = state
        if features.vendor == .amd, s.pointee.isLongMode { return undefinedOpcode() }
        guard s.pointee.isProtected, s.pointee.cpl == 0, s.pointee.sysenterCS & 0xFFFC != 0 else {
            return generalProtection()
        }
        let base = UInt16(truncatingIfNeeded: s.pointee.sysenterCS) & 0xFFFC
        let isWide = s.pointee.is64Bit && op.pointee.prefixes.contains(.rexW)
        let mask: UInt64 = isWide ? ~0 : 0xFFFF_FFFF
        let target = s.pointee.gpr[Register.rdx] & mask
        let pointer = s.pointee.gpr[Register.rcx] & mask
        guard isCanonical(target), isCanonical(pointer) else { return generalProtection() }
        let code = (base &+ (isWide ? 32 : 16)) | 3
        setFlat(code: code, isWide ? Self.flatCode64 : Self.flatCode32, privilege: 3, stack: (code &+ 8) | 3)
        s.pointee.gpr[Register.rsp] = pointer
        s.pointee.rip = target
        updateMode()
        return .leave
    }

    func swapGS() -> Outcome {
        guard requireSupervisor() else { return .fault }
        let base = state.pointee.segments[SegmentIndex.gs].base
        state.pointee.segments[SegmentIndex.gs].base = state.pointee.kernelGSBase
        state.pointee.kernelGSBase = base
        return .next
    }

    func readSegmentBase(_ op: Op, _ index: Int) -> Outcome {
        guard state.pointee.cr4 & CR4.fsgsbase != 0 else { return undefinedOpcode() }
        setOperandRegister(op.pointee.rm, state.pointee.segments[index].base, size: op.pointee.size == 3 ? 3 : 2)
        return .next
    }

    func writeSegmentBase(_ op: Op, _ index: Int) -> Outcome {
        guard state.pointee.cr4 & CR4.fsgsbase != 0 else { return undefinedOpcode() }
        let value = state.gpr64(op.pointee.rm) & (op.pointee.size == 3 ? ~0 : 0xFFFF_FFFF)
        guard isCanonical(value) else { return generalProtection() }
        state.pointee.segments[index].base = value
        return .next
    }
}
