import Testing

@testable import Emulator

/// Virtual-8086 mode, I/O privilege and the flags that depend on privilege.
@Suite struct SystemModeTests {
    typealias Selector = SystemRig.Selector

    /// Enters virtual-8086 mode at 0:1800h with IRET and runs `bytes` there.
    private func runVirtual(_ rig: SystemRig, _ bytes: [UInt8], flags: UInt32 = 0) -> UInt8? {
        rig.write(bytes + [0xF4], at: 0x1800)
        rig.enter(privilege: 0)
        rig[Register.rsp] = 0x7800
        let frame: [UInt32] = [0x1800, 0, flags | RFLAGS.vm | 2, 0x6FF0, 0x200, 0x300, 0x400, 0x500, 0x600]
        for (i, word) in frame.enumerated() { rig.write32(word, at: 0x7800 + UInt64(i) * 4) }
        return rig.run([0xCF])
    }

    @Test func returnToVirtual8086ModeAndBackByAFault() throws {
        let rig = try SystemRig(.protected32)
        // mov ax, es; hlt is privileged there
        #expect(runVirtual(rig, [0x8C, 0xC0]) == Vector.gp)
        #expect(rig[Register.rax] & 0xFFFF == 0x300)
        #expect(rig.s.pointee.flagsRest & RFLAGS.vm == 0 && rig.s.pointee.cpl == 0)
        let frame = rig.stack(10, size: 4)
        #expect(frame[0...2] == [0, 0x1802, 0])
        #expect(frame[3] & UInt64(RFLAGS.vm) != 0)
        #expect(frame[4...9] == [0x6FF0, 0x200, 0x300, 0x400, 0x500, 0x600])
        #expect(!rig.s.pointee.segments[SegmentIndex.ds].isPresent)
    }

    @Test func segmentsOfVirtual8086ModeAreSelectorsTimes16() throws {
        let rig = try SystemRig(.protected32)
        rig.write16(0xBEEF, at: 0x1_2345)
        // mov ax, 1234h; mov ds, ax; mov bx, [5]; mov [6], bx
        #expect(runVirtual(rig, [0xB8, 0x34, 0x12, 0x8E, 0xD8, 0x8B, 0x1E, 5, 0]) == Vector.gp)
        #expect(rig[Register.rbx] & 0xFFFF == 0xBEEF)
    }

    @Test func softwareInterruptsOfVirtual8086ModeNeedIOPL3() throws {
        let rig = try SystemRig(.protected32)
        rig.setGate(0x21, dpl: 3)
        #expect(runVirtual(rig, [0xCD, 0x21]) == Vector.gp)
        #expect(rig.stack(2, size: 4) == [0, 0x1800])
        #expect(runVirtual(rig, [0xCD, 0x21], flags: RFLAGS.iopl) == 0x21)
        #expect(rig.stack(1, size: 4) == [0x1802])
        #expect(runVirtual(rig, [0xFA]) == Vector.gp)
        #expect(rig.stack(2, size: 4)[1] == 0x1800)
    }

    @Test func virtualModeExtensionsRedirectAndKeepAVirtualFlag() throws {
        let rig = try SystemRig(.protected32)
        rig.s.pointee.cr4 |= CR4.vme
        // I/O map at 88h, so that the redirection bitmap is at 68h: all to the 8086 program.
        rig.write16(0x88, at: SystemRig.tss + 0x66)
        rig.write([UInt8](repeating: 0, count: 32), at: SystemRig.tss + 0x68)
        // The program's own handler: mov bx, [bp... ] is not needed; pop ax; pop bx; pop cx; hlt
        rig.write16(0x1900, at: 0x21 * 4)
        rig.write16(0, at: 0x21 * 4 + 2)
        rig.write([0x58, 0x5B, 0x59, 0xF4], at: 0x1900)
        // sti; int 21h
        #expect(runVirtual(rig, [0xFB, 0xCD, 0x21]) == Vector.gp)
        #expect(rig[Register.rax] & 0xFFFF == 0x1803)
        // The image on the program's stack shows VIF as IF, and IOPL 3.
        #expect(rig[Register.rcx] & 0x3200 == 0x3200)
        // The frame of the #GP has VIF clear again.
        #expect(rig.stack(4, size: 4)[3] & UInt64(RFLAGS.vif) == 0)
        // STI with VIP pending is a fault for the monitor.
        #expect(runVirtual(rig, [0xFB], flags: RFLAGS.vip) == Vector.gp)
        #expect(rig.stack(2, size: 4)[1] == 0x1800)
    }

    @Test func portsOfRing3FollowTheBitmap() throws {
        final class Port: PortDevice {
            func portRead(_ port: UInt16, size: Int) -> UInt32 { 0x1234_5678 }
            func portWrite(_ port: UInt16, size: Int, value: UInt32) {}
        }
        let rig = try SystemRig(.protected32)
        let port = Port()
        rig.ports.claim(0x40, count: 8, by: port)
        // Ports 40h to 43h allowed.
        rig.write([0xF0], at: SystemRig.tss + 0x68 + 8)
        func read(_ bytes: [UInt8]) -> UInt64? {
            rig.enter(privilege: 3)
            rig[Register.rax] = 0
            _ = rig.run(bytes)
            return rig.stack(2, size: 4)[1] == SystemRig.code ? nil : rig[Register.rax]
        }
        #expect(read([0xE5, 0x40]) == 0x1234_5678)
        #expect(read([0xE4, 0x43]) == 0x78)
        #expect(read([0x66, 0xE5, 0x42]) == 0x5678)
        #expect(read([0xE5, 0x41]) == nil)
        #expect(read([0xE4, 0x44]) == nil)
        // IOPL 3 asks no bitmap.
        rig.s.flags = RFLAGS.iopl
        #expect(read([0xE4, 0x44]) == 0x78)
    }

    @Test func flagsOfPrivilegeStayInRing3() throws {
        let rig = try SystemRig(.protected32)
        rig.enter(privilege: 3)
        rig.s.flags = RFLAGS.interrupt
        // push 0; popf; pushf; pop eax
        rig.run([0x6A, 0x00, 0x9D, 0x9C, 0x58])
        #expect(rig[Register.rax] == 0x202)
        // push 3002h; popf; pushf; pop eax
        rig.enter(privilege: 3)
        rig.s.flags = RFLAGS.interrupt
        rig.run([0x68, 0x02, 0x30, 0, 0, 0x9D, 0x9C, 0x58])
        #expect(rig[Register.rax] == 0x202)
        // ID and AC can be toggled everywhere: push 240000h; popf; pushf; pop eax
        rig.enter(privilege: 3)
        rig.run([0x68, 0, 0, 0x24, 0, 0x9D, 0x9C, 0x58])
        #expect(rig[Register.rax] & 0x24_0000 == 0x24_0000)
    }

    @Test func protectedVirtualInterruptsUseVIF() throws {
        let rig = try SystemRig(.protected32)
        rig.enter(privilege: 3)
        #expect(rig.run([0xFB]) == Vector.gp)
        rig.s.pointee.cr4 |= CR4.pvi
        rig.enter(privilege: 3)
        rig.run([0xFB])
        #expect(rig.stack(4, size: 4)[3] & UInt64(RFLAGS.vif) != 0)
    }

    @Test func privilegedInstructionsFaultInRing3() throws {
        let rig = try SystemRig(.protected32)
        let programs: [[UInt8]] = [
            [0xF4], [0x0F, 0x06], [0x0F, 0x08], [0x0F, 0x09], [0x0F, 0x30], [0x0F, 0x32], [0x0F, 0x20, 0xC0],
            [0x0F, 0x22, 0xC0], [0x0F, 0x21, 0xC0], [0x0F, 0x01, 0x38], [0x0F, 0x01, 0xF0], [0x0F, 0x00, 0xD0],
            [0x0F, 0x00, 0xD8], [0x0F, 0x01, 0x15, 0, 0xB0, 0, 0], [0x0F, 0x33], [0xFA],
        ]
        for program in programs {
            rig.enter(privilege: 3)
            #expect(rig.run(program) == Vector.gp, "\(program)")
            #expect(rig.stack(2, size: 4) == [0, SystemRig.code], "\(program)")
        }
    }
}
