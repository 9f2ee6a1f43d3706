import Testing

@testable import Emulator

@Suite struct SystemTransferTests {
    typealias Selector = SystemRig.Selector

    /// Installs a 32-bit call gate of privilege 3 to ring-0 code.
    private func setCallGate(_ rig: SystemRig, to offset: UInt64, parameters: UInt64) {
        let selector = UInt64(rig.mode == .long64 ? Selector.code64 : Selector.code32)
        rig.setDescriptor(
            Selector.gate, offset & 0xFFFF | selector << 16 | parameters << 32 | 0xEC << 40 | (offset >> 16) << 48)
        rig.setDescriptor(Selector.gate + 8, 0)
    }

    @Test func callGateCopiesParametersAndReturns() throws {
        let rig = try SystemRig(.protected32)
        setCallGate(rig, to: 0x1800, parameters: 2)
        // mov eax, [esp+8]; mov ebx, [esp+12]; mov ecx, [esp+16]; retf 8
        rig.write(
            [0x8B, 0x44, 0x24, 8, 0x8B, 0x5C, 0x24, 12, 0x8B, 0x4C, 0x24, 16, 0xCA, 8, 0], at: 0x1800)
        rig.enter(privilege: 3)
        // push 11h; push 22h; call 63h:0; pushf (the halt behind it is #GP)
        #expect(rig.run([0x6A, 0x11, 0x6A, 0x22, 0x9A, 0, 0, 0, 0, 0x63, 0]) == Vector.gp)
        #expect(rig[Register.rax] == 0x22 && rig[Register.rbx] == 0x11)
        #expect(rig[Register.rcx] == SystemRig.userStack - 8)
        // After the return the parameters are gone from both stacks.
        #expect(rig.stack(5, size: 4)[4] == SystemRig.userStack)
        // Data segments of ring 3 survived, ring 0's would not have.
        #expect(rig.s.pointee.segments[SegmentIndex.ds].selector == Selector.userData)
    }

    @Test func returnToRing3DropsPrivilegedDataSegments() throws {
        let rig = try SystemRig(.protected32)
        // push 23h; push E000h; push 1Bh; push 1900h; retf
        rig.run([0x6A, 0x23, 0x68, 0, 0xE0, 0, 0, 0x6A, 0x1B, 0x68, 0, 0x19, 0, 0, 0xCB])
        #expect(rig.s.pointee.segments[SegmentIndex.es].selector == 0)
        #expect(!rig.s.pointee.segments[SegmentIndex.ds].isPresent)
        #expect(rig.s.pointee.segments[SegmentIndex.ss].selector == 0 || rig.s.pointee.halted)
    }

    @Test func farTransfersCheckTheirTarget() throws {
        let rig = try SystemRig(.protected32)
        func jump(_ selector: UInt16, privilege: UInt8 = 0, offset: UInt32 = 0x1900) -> (UInt8?, UInt64) {
            rig.enter(privilege: privilege)
            rig.write([0xF4], at: 0x1900)
            let bytes = (0..<4).map { UInt8(truncatingIfNeeded: offset >> ($0 * 8)) }
            let vector = rig.run([0xEA] + bytes + [UInt8(selector & 0xFF), UInt8(selector >> 8)])
            return (vector, rig.stack(1, size: 4)[0])
        }
        #expect(jump(Selector.code32).0 == nil)
        #expect(rig.s.pointee.rip == 0x1901)
        #expect(jump(0) == (Vector.gp, 0))
        #expect(jump(Selector.data) == (Vector.gp, UInt64(Selector.data)))
        #expect(jump(Selector.code32, privilege: 3) == (Vector.gp, UInt64(Selector.code32)))
        #expect(jump(Selector.code16, offset: 0x1_0000) == (Vector.gp, 0))
        rig.setDescriptor(Selector.spare, 0x00CF_1B00_0000_FFFF)
        #expect(jump(Selector.spare) == (Vector.np, UInt64(Selector.spare)))
        // Conforming code of ring 0 runs at the caller's privilege.
        rig.setDescriptor(Selector.spare, 0x00CF_9F00_0000_FFFF)
        #expect(jump(Selector.spare, privilege: 3).0 == Vector.gp)
        #expect(rig.stack(3, size: 4)[2] == UInt64(Selector.spare | 3))
    }

    @Test func longModeCallGateAndFarReturn() throws {
        let rig = try SystemRig(.long64)
        setCallGate(rig, to: 0x1800, parameters: 0)
        // mov eax, cs; retfq
        rig.write([0x8C, 0xC8, 0x48, 0xCB], at: 0x1800)
        rig.enter(privilege: 3)
        // call far [B000h]
        rig.write([0, 0, 0, 0, 0x63, 0], at: SystemRig.data)
        #expect(rig.run([0xFF, 0x1C, 0x25, 0x00, 0xB0, 0x00, 0x00]) == Vector.gp)
        #expect(rig[Register.rax] == UInt64(Selector.code64))
        #expect(rig.stack(3, size: 8)[1...2] == [SystemRig.code + 7, UInt64(Selector.userCode64)])
    }

    @Test func compatibilityModeIsEnteredAndLeftByFarReturns() throws {
        let rig = try SystemRig(.long64)
        // 64-bit: push 8; push 1800h; retfq. Compatibility: inc eax (REX prefix in 64-bit code); jmp 28h:1900h
        rig.write([0x40, 0xEA, 0x00, 0x19, 0, 0, 0x28, 0], at: 0x1800)
        rig.write([0x48, 0xFF, 0xC3, 0xF4], at: 0x1900)
        rig[Register.rax] = 1
        rig[Register.rbx] = 0xFFFF_FFFF
        rig.run([0x6A, 0x08, 0x68, 0x00, 0x18, 0, 0, 0x48, 0xCB])
        #expect(rig[Register.rax] == 2)
        #expect(rig[Register.rbx] == 0x1_0000_0000)
        #expect(rig.s.pointee.modeKey & ModeKey.code64 != 0)
    }

    @Test func syscallAndSysretCrossThePrivilegeLevels() throws {
        let rig = try SystemRig(.long64)
        rig.s.pointee.star = UInt64(0x0028) << 32 | UInt64(0x0023) << 48
        rig.s.pointee.lstar = 0x1800
        rig.s.pointee.syscallMask = UInt64(RFLAGS.interrupt | RFLAGS.df)
        rig.enter(privilege: 3)
        // mov eax, cs; sysretq
        rig.write([0x8C, 0xC8, 0x48, 0x0F, 0x07], at: 0x1800)
        rig.s.flags = RFLAGS.interrupt | RFLAGS.df | RFLAGS.cf
        // syscall; mov ebx, cs; mov edx, ss
        #expect(rig.run([0x0F, 0x05, 0x8C, 0xCB, 0x8C, 0xD2]) == Vector.gp)
        #expect(rig[Register.rax] == 0x28)
        #expect(rig[Register.rbx] == 0x33 && rig[Register.rdx] == 0x2B)
        #expect(rig[Register.rcx] == SystemRig.code + 2)
        #expect(rig[11] == UInt64(RFLAGS.interrupt | RFLAGS.df | RFLAGS.cf | 2))
        // Ring 3 may not return, and without SCE there is no SYSCALL.
        rig.enter(privilege: 3)
        #expect(rig.run([0x48, 0x0F, 0x07]) == Vector.gp)
        rig.s.pointee.efer &= ~EFER.sce
        #expect(rig.run([0x0F, 0x05]) == Vector.ud)
    }

    @Test func sysenterAndSysexit() throws {
        let rig = try SystemRig(.protected32)
        rig.s.pointee.sysenterCS = UInt64(Selector.code32)
        rig.s.pointee.sysenterEIP = 0x1800
        rig.s.pointee.sysenterESP = 0x7000
        rig.enter(privilege: 3)
        // mov eax, esp; mov edx, 1900h; mov ecx, E000h; sysexit
        rig.write([0x89, 0xE0, 0xBA, 0, 0x19, 0, 0, 0xB9, 0, 0xE0, 0, 0, 0x0F, 0x35], at: 0x1800)
        rig.write([0x8C, 0xCB, 0xF4], at: 0x1900)
        #expect(rig.run([0x0F, 0x34]) == Vector.gp)
        #expect(rig[Register.rax] == 0x7000)
        #expect(rig[Register.rbx] == UInt64(Selector.userCode))
    }

    @Test func swapgsExchangesTheBases() throws {
        let rig = try SystemRig(.long64)
        rig.s.pointee.kernelGSBase = 0xB000
        rig.write64(0x1234, at: 0xB008)
        // swapgs; mov rax, gs:[8]
        rig.run([0x0F, 0x01, 0xF8, 0x65, 0x48, 0x8B, 0x04, 0x25, 8, 0, 0, 0])
        #expect(rig[Register.rax] == 0x1234 && rig.s.pointee.kernelGSBase == 0)
    }

    @Test func taskSwitchByJumpCallAndReturn() throws {
        let rig = try SystemRig(.protected32)
        let tss = SystemRig.secondTSS
        rig.write32(0x1800, at: tss + 0x20)
        rig.write32(0x2, at: tss + 0x24)
        rig.write32(0x77, at: tss + 0x28)
        rig.write32(0x7800, at: tss + 0x38)
        for i in 0..<6 {
            let selector = i == SegmentIndex.cs ? Selector.code32 : Selector.data
            rig.write32(UInt32(selector), at: tss + 0x48 + UInt64(i) * 4)
        }
        // The second task: pushf; pop ebx; inc eax; iret
        rig.write([0x9C, 0x5B, 0x40, 0xCF, 0xF4], at: 0x1800)
        rig[Register.rax] = 5
        #expect(rig.run([0x9A, 0, 0, 0, 0, 0x70, 0, 0x40]) == nil)
        // Back in the first task, its registers as they were.
        #expect(rig[Register.rax] == 6)
        #expect(rig.s.pointee.tr.selector == Selector.tss)
        #expect(rig.memory.read(tss, size: 2) == UInt64(Selector.tss))
        // The second task's registers were saved, with NT cleared and its TSS no longer busy.
        #expect(rig.memory.read(tss + 0x28, size: 4) == 0x78)
        #expect(rig.memory.read(tss + 0x34, size: 4) & UInt64(RFLAGS.nt) != 0)
        #expect(rig.memory.read(tss + 0x24, size: 4) & UInt64(RFLAGS.nt) == 0)
        #expect(rig.memory.read(SystemRig.gdt + 0x75, size: 1) == 0x89)
        #expect(rig.s.pointee.cr0 & CR0.ts != 0)
        // JMP leaves for good.
        rig.write32(0x1900, at: tss + 0x20)
        rig.write([0xF4], at: 0x1900)
        rig.run([0xEA, 0, 0, 0, 0, 0x70, 0])
        #expect(rig.s.pointee.tr.selector == Selector.secondTSS)
        #expect(rig.s.pointee.rip == 0x1901)
        #expect(rig.memory.read(SystemRig.gdt + 0x55, size: 1) == 0x89)
        #expect(rig.memory.read(SystemRig.gdt + 0x75, size: 1) == 0x8B)
    }

    @Test func taskGatePushesTheErrorCodeOnTheNewStack() throws {
        let rig = try SystemRig(.protected32)
        let tss = SystemRig.secondTSS
        rig.write32(0x1800, at: tss + 0x20)
        rig.write32(0x7800, at: tss + 0x38)
        for i in 0..<6 {
            let selector = i == SegmentIndex.cs ? Selector.code32 : Selector.data
            rig.write32(UInt32(selector), at: tss + 0x48 + UInt64(i) * 4)
        }
        rig.write([0xF4], at: 0x1800)
        rig.write64(UInt64(Selector.secondTSS) << 16 | 0x85 << 40, at: SystemRig.idt + UInt64(Vector.gp) * 8)
        // mov ds, of a selector beyond the table
        rig.run([0x66, 0xB8, 0x08, 0x01, 0x8E, 0xD8])
        #expect(rig.s.pointee.rip == 0x1801)
        #expect(rig.stack(1, size: 4) == [0x108] && rig[Register.rsp] == 0x77FC)
        #expect(rig.s.pointee.flagsRest & RFLAGS.nt != 0)
        #expect(rig.memory.read(SystemRig.tss + 0x20, size: 4) == SystemRig.code + 4)
    }
}
