import Testing

@testable import Emulator

@Suite struct SystemInterruptTests {
    typealias Selector = SystemRig.Selector

    @Test func realModeInterruptSavesFlagsAndReturns() throws {
        let rig = try SystemRig(.real)
        rig.s.flags = RFLAGS.interrupt | RFLAGS.cf
        #expect(rig.run([0xCD, 0x21]) == 0x21)
        #expect(rig.stack(3, size: 2) == [0x1002, 0, 0x203])
        #expect(rig.s.pointee.flagsRest & RFLAGS.interrupt == 0)
        rig.write([0xCF], at: SystemRig.handlers + 0x210)
        #expect(rig.run([0xFB, 0xCD, 0x21]) == nil)
        #expect(rig.s.pointee.rip == SystemRig.code + 4)
        #expect(rig.s.pointee.flagsRest & RFLAGS.interrupt != 0)
    }

    @Test func interruptFromRing3UsesTheTaskStackAndReturns() throws {
        let rig = try SystemRig(.protected32)
        rig.enter(privilege: 3)
        rig.setGate(0x80, dpl: 3)
        rig.s.flags = RFLAGS.interrupt
        #expect(rig.run([0xCD, 0x80]) == 0x80)
        #expect(rig.s.pointee.cpl == 0)
        #expect(
            rig.stack(5, size: 4) == [
                SystemRig.code + 2, UInt64(Selector.userCode), 0x202, SystemRig.userStack, UInt64(Selector.userData),
            ])
        rig.write([0xCF], at: SystemRig.handlers + 0x800)
        rig.enter(privilege: 3)
        // The code at the end of the user program cannot halt: #GP(0).
        #expect(rig.run([0xCD, 0x80]) == Vector.gp)
        #expect(rig.stack(2, size: 4) == [0, SystemRig.code + 2])
    }

    @Test func gatesOfHigherPrivilegeRefuseSoftwareInterrupts() throws {
        let rig = try SystemRig(.protected32)
        rig.enter(privilege: 3)
        #expect(rig.run([0xCD, 0x40]) == Vector.gp)
        #expect(rig.stack(2, size: 4) == [0x40 * 8 + 2, SystemRig.code])
    }

    @Test func absentGateRaisesNotPresentAndFaultInsideItDoubleFaults() throws {
        let rig = try SystemRig(.protected32)
        rig.write([0], at: SystemRig.idt + 0x40 * 8 + 5)
        #expect(rig.run([0xCD, 0x40]) == Vector.gp)
        rig.write([0x0E], at: SystemRig.idt + 0x40 * 8 + 5)
        #expect(rig.run([0xCD, 0x40]) == Vector.np)
        // #DE cannot be delivered for want of its gate: contributory after contributory.
        rig.write([0x0E], at: SystemRig.idt + 5)
        rig[Register.rcx] = 0
        #expect(rig.run([0xF7, 0xF1]) == Vector.df)
        #expect(rig.stack(2, size: 4) == [0, SystemRig.code])
        #expect(rig.tripleFaults == 0)
    }

    @Test func faultInDoubleFaultShutsDown() throws {
        let rig = try SystemRig(.protected32)
        rig.s.pointee.idtr.limit = 0
        rig.run([0x0F, 0x0B])
        #expect(rig.tripleFaults == 1)
    }

    @Test func faultsSetRFInTheSavedFlagsAndTrapsDoNot() throws {
        let rig = try SystemRig(.protected32)
        #expect(rig.run([0x0F, 0x0B]) == Vector.ud)
        #expect(rig.stack(3, size: 4)[2] & UInt64(RFLAGS.rf) != 0)
        #expect(rig.run([0xCC]) == Vector.bp)
        #expect(rig.stack(3, size: 4)[2] & UInt64(RFLAGS.rf) == 0)
    }

    @Test func longModeAlignsTheStackAndAlwaysSavesIt() throws {
        let rig = try SystemRig(.long64)
        rig[Register.rsp] = 0x7FF5
        #expect(rig.run([0xCC]) == Vector.bp)
        #expect(rig[Register.rsp] == 0x7FF0 - 40)
        #expect(
            rig.stack(5, size: 8) == [
                SystemRig.code + 1, UInt64(Selector.code64), 2, 0x7FF5, UInt64(Selector.data),
            ])
        rig.write([0x48, 0xCF], at: SystemRig.handlers + 0x30)
        rig[Register.rsp] = 0x7FF5
        #expect(rig.run([0xCC]) == nil)
        #expect(rig[Register.rsp] == 0x7FF5)
        #expect(rig.s.pointee.rip == SystemRig.code + 2)
    }

    @Test func longModeFromRing3TakesRSP0WithNullStackSegment() throws {
        let rig = try SystemRig(.long64)
        rig.enter(privilege: 3)
        #expect(rig.run([0xF4]) == Vector.gp)
        #expect(rig[Register.rsp] == SystemRig.ringStack - 48)
        #expect(rig.s.pointee.segments[SegmentIndex.ss].selector == 0)
        #expect(rig.s.pointee.cpl == 0)
        rig.setGate(Vector.ud, ist: 1)
        rig.enter(privilege: 3)
        #expect(rig.run([0x0F, 0x0B]) == Vector.ud)
        #expect(rig[Register.rsp] == SystemRig.istStack - 40)
    }

    @Test func interruptsWaitForTheInstructionAfterSTI() throws {
        let rig = try SystemRig(.long64)
        rig.cpu.acknowledgeInterrupt = { [unowned rig] in
            rig.s.pointee.interruptRequest = false
            return 0x30
        }
        rig.s.pointee.interruptRequest = true
        rig[Register.rax] = 0
        // sti; inc eax; inc eax
        #expect(rig.run([0xFB, 0xFF, 0xC0, 0xFF, 0xC0]) == 0x30)
        #expect(rig[Register.rax] == 1)
        #expect(rig.stack(1, size: 8) == [SystemRig.code + 3])
    }

    @Test func interruptsWakeAHaltedProcessor() throws {
        let rig = try SystemRig(.long64)
        rig.cpu.acknowledgeInterrupt = { [unowned rig] in
            rig.s.pointee.interruptRequest = false
            return 0x31
        }
        #expect(rig.run([0xFB]) == nil)
        #expect(rig.s.pointee.halted)
        rig.s.pointee.interruptRequest = true
        _ = rig.cpu.run(budget: 100)
        #expect(rig.handlerReached == 0x31)
        #expect(rig.stack(1, size: 8) == [SystemRig.code + 2])
    }

    @Test func nonMaskableInterruptsBlockEachOtherUntilIRET() throws {
        let rig = try SystemRig(.protected32)
        rig.s.pointee.nmiRequest = true
        #expect(rig.run([0x90]) == Vector.nmi)
        #expect(rig.s.pointee.nmiBlocked)
        rig.s.pointee.nmiRequest = true
        rig.write([0xCF], at: SystemRig.handlers + 0x20)
        #expect(rig.run([0x90]) == nil)
        #expect(rig.s.pointee.nmiRequest)
        // pushf; push cs; push end; iret
        rig.run([0x9C, 0x0E, 0x68, 0x08, 0x10, 0x00, 0x00, 0xCF])
        #expect(!rig.s.pointee.nmiBlocked && !rig.s.pointee.nmiRequest)
    }

    @Test func singleStepTrapsAfterTheInstruction() throws {
        let rig = try SystemRig(.protected32)
        rig[Register.rax] = 0
        // pushf; or dword [esp], 100h; popf; inc eax; inc eax
        #expect(rig.run([0x9C, 0x81, 0x0C, 0x24, 0, 1, 0, 0, 0x9D, 0x40, 0x40]) == Vector.db)
        #expect(rig[Register.rax] == 1)
        #expect(rig.s.pointee.debugRegisters[6] & DR6.singleStep != 0)
        #expect(rig.stack(1, size: 4) == [SystemRig.code + 10])
        #expect(rig.s.pointee.flagsRest & RFLAGS.tf == 0)
    }

    @Test func instructionBreakpointsFaultAndRFLetsOnePass() throws {
        let rig = try SystemRig(.protected32)
        rig.cpu.writeDebugRegister(0, SystemRig.code + 1)
        rig.cpu.writeDebugRegister(7, 1)
        rig[Register.rax] = 0
        #expect(rig.run([0x40, 0x40, 0x40]) == Vector.db)
        #expect(rig[Register.rax] == 1)
        #expect(rig.s.pointee.debugRegisters[6] & 0xF == 1)
        #expect(rig.stack(1, size: 4) == [SystemRig.code + 1])
        // The handler sets RF in the frame: or byte [esp+10], 1; iret
        rig.write([0x80, 0x4C, 0x24, 0x0A, 0x01, 0xCF], at: SystemRig.handlers + 0x10)
        rig[Register.rax] = 0
        #expect(rig.run([0x40, 0x40, 0x40]) == nil)
        #expect(rig[Register.rax] == 3)
    }

    @Test func generalDetectGuardsTheDebugRegisters() throws {
        let rig = try SystemRig(.protected32)
        rig.cpu.writeDebugRegister(7, DR7.generalDetect)
        #expect(rig.run([0x0F, 0x21, 0xF8]) == Vector.db)
        #expect(rig.s.pointee.debugRegisters[6] & DR6.accessDetected != 0)
        #expect(rig.s.pointee.debugRegisters[7] & DR7.generalDetect == 0)
    }
}
