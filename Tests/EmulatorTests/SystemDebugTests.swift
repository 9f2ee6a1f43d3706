import Testing

@testable import Emulator

/// Debug exceptions at the edges: causes in DR6, shadows of MOV SS and STI, repeated strings.
@Suite struct SystemDebugTests {
    private static let stepping = RFLAGS.tf | RFLAGS.fixed1

    /// Saved instruction pointer of the handler that halted.
    private func frame(_ rig: SystemRig) -> UInt64 { rig.stack(1, size: 4)[0] }

    @Test func eachDebugExceptionTellsItsOwnBreakpoints() throws {
        let rig = try SystemRig(.protected32)
        rig.cpu.writeDebugRegister(6, 0x200F)
        rig.s.flags = Self.stepping
        #expect(rig.run([0x90]) == Vector.db)
        let dr6 = rig.s.pointee.debugRegisters[6]
        #expect(dr6 & 0xF == 0, "those of an earlier one are gone")
        #expect(dr6 & 0x6000 == 0x6000, "what only software clears stays")
        rig.cpu.writeDebugRegister(6, 0xF)
        rig.s.flags = RFLAGS.fixed1
        #expect(rig.run([0xF1]) == Vector.db)
        #expect(rig.s.pointee.debugRegisters[6] & 0xF == 0)
    }

    @Test func aBreakpointRightBehindMOVSSIsSuppressed() throws {
        let rig = try SystemRig(.protected32)
        rig[Register.rax] = UInt64(SystemRig.Selector.data)
        rig.cpu.writeDebugRegister(0, SystemRig.code + 2)
        rig.cpu.writeDebugRegister(7, 1)
        #expect(rig.run([0x8E, 0xD0, 0x90]) == nil)
        #expect(rig.run([0x8E, 0xD8, 0x90]) == Vector.db, "only SS does that")
        // push ss; pop ss; nop
        rig.cpu.writeDebugRegister(0, SystemRig.code + 2)
        #expect(rig.run([0x16, 0x17, 0x90]) == nil)
        rig.cpu.writeDebugRegister(0, SystemRig.code + 1)
        #expect(rig.run([0x16, 0x17, 0x90]) == Vector.db)
    }

    @Test func STIHoldsBackInterruptsButNoTraps() throws {
        let rig = try SystemRig(.protected32)
        rig.cpu.acknowledgeInterrupt = { 0x30 }
        rig.s.pointee.interruptRequest = true
        rig.s.flags = Self.stepping
        #expect(rig.run([0xFB, 0x90, 0x90]) == Vector.db)
        #expect(frame(rig) == SystemRig.code + 1)
    }

    @Test func aNonmaskableInterruptComesRightBehindSTIAndOneInstructionBehindMOVSS() throws {
        for (bytes, offset) in [([0xFB, 0x90, 0x90], UInt64(1)), ([0x8E, 0xD0, 0x90, 0x90], 3)] {
            let rig = try SystemRig(.protected32)
            rig[Register.rax] = UInt64(SystemRig.Selector.data)
            // Asked for by the instruction itself, as a device would in between.
            rig.s.pointee.nmiBlocked = true
            rig.s.pointee.nmiRequest = true
            rig.write(bytes.map(UInt8.init) + [0xF4], at: SystemRig.code)
            rig.s.pointee.rip = SystemRig.code
            rig.cpu.step()
            rig.s.pointee.nmiBlocked = false
            _ = rig.cpu.run(budget: 10)
            #expect(rig.handlerReached == Vector.nmi)
            #expect(frame(rig) == SystemRig.code + offset)
        }
    }

    @Test func theTrapOfASteppedMOVSSIsDropped() throws {
        let rig = try SystemRig(.protected32)
        rig[Register.rax] = UInt64(SystemRig.Selector.data)
        rig.s.flags = Self.stepping
        #expect(rig.run([0x8E, 0xD0, 0x90, 0x90]) == Vector.db)
        #expect(frame(rig) == SystemRig.code + 3)
    }

    @Test func aDataBreakpointOfMOVSSWaitsForTheNextInstruction() throws {
        let rig = try SystemRig(.protected32)
        rig.write16(SystemRig.Selector.data, at: SystemRig.data)
        rig[Register.rbx] = SystemRig.data
        rig.cpu.writeDebugRegister(1, SystemRig.data)
        rig.cpu.writeDebugRegister(7, 4 | 7 << 20)
        #expect(rig.run([0x8E, 0x13, 0x90, 0x90]) == Vector.db)
        #expect(frame(rig) == SystemRig.code + 3)
        #expect(rig.s.pointee.debugRegisters[6] & 0xF == 2)
    }

    @Test func aSteppedStringTrapsAfterEachElement() throws {
        let rig = try SystemRig(.protected32)
        rig[Register.rsi] = SystemRig.data
        rig[Register.rdi] = SystemRig.data + 0x100
        rig[Register.rcx] = 3
        for left in [UInt64(2), 1, 0] {
            rig.s.flags = Self.stepping
            rig.enter(privilege: 0)
            #expect(rig.run([0xF3, 0xA4, 0x90]) == Vector.db)
            #expect(rig[Register.rcx] == left)
            #expect(frame(rig) == SystemRig.code + (left == 0 ? 2 : 0))
        }
        #expect(rig[Register.rsi] == SystemRig.data + 3)
    }
}
