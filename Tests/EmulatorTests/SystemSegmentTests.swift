import Testing

@testable import Emulator

@Suite struct SystemSegmentTests {
    typealias Selector = SystemRig.Selector

    @Test func resetEntersTheFirmwareAtTheTopOfMemory() throws {
        let rig = try SystemRig(.protected32)
        rig.cpu.reset()
        let state = rig.s.pointee
        #expect(state.segments[SegmentIndex.cs].base + state.rip == 0xFFFF_FFF0)
        #expect(state.segments[SegmentIndex.cs].selector == 0xF000)
        #expect(state.cr0 == 0x6000_0010)
        #expect(rig.s.flags == 2)
        #expect(rig[Register.rdx] == UInt64(CPUFeatures().signature))
        #expect(state.modeKey == 0)
    }

    @Test func modeKeyIsFlatOnlyForWholeWritableSegments() throws {
        let rig = try SystemRig(.protected32)
        #expect(rig.s.pointee.modeKey == ModeKey.code32 | ModeKey.stack32 | ModeKey.flat)
        rig.setDescriptor(Selector.spare, 0x00CF_9300_0000_FFFE)
        // mov ax, 80h; mov ds, ax
        #expect(rig.run([0x66, 0xB8, 0x80, 0x00, 0x8E, 0xD8]) == nil)
        #expect(rig.s.pointee.modeKey & ModeKey.flat == 0)
        // mov ax, 10h; mov ds, ax
        rig.run([0x66, 0xB8, 0x10, 0x00, 0x8E, 0xD8])
        #expect(rig.s.pointee.modeKey & ModeKey.flat != 0)
    }

    @Test func loadsSetTheAccessedBit() throws {
        let rig = try SystemRig(.protected32)
        rig.setDescriptor(Selector.spare, 0x00CF_9200_0000_FFFF)
        rig.run([0x66, 0xB8, 0x80, 0x00, 0x8E, 0xC0])
        #expect(rig.memory.read(SystemRig.gdt + 0x85, size: 1) == 0x93)
        #expect(rig.s.pointee.segments[SegmentIndex.es].attributes == 0xC093)
    }

    @Test func segmentLoadsFaultAsTheirDescriptorSays() throws {
        let rig = try SystemRig(.protected32)
        func load(_ modRM: UInt8, _ selector: UInt16, privilege: UInt8 = 0) -> (UInt8?, UInt64) {
            rig.enter(privilege: privilege)
            let vector = rig.run([0x66, 0xB8, UInt8(selector & 0xFF), UInt8(selector >> 8), 0x8E, modRM])
            return (vector, rig.stack(1, size: 4)[0])
        }
        // DS: privileged data from ring 3; beyond the table; execute-only code.
        #expect(load(0xD8, Selector.data, privilege: 3) == (Vector.gp, UInt64(Selector.data)))
        #expect(load(0xD8, 0x108) == (Vector.gp, 0x108))
        rig.setDescriptor(Selector.spare, 0x00CF_9900_0000_FFFF)
        #expect(load(0xD8, Selector.spare) == (Vector.gp, UInt64(Selector.spare)))
        // DS and SS not present.
        rig.setDescriptor(Selector.spare, 0x00CF_1300_0000_FFFF)
        #expect(load(0xD8, Selector.spare) == (Vector.np, UInt64(Selector.spare)))
        #expect(load(0xD0, Selector.spare) == (Vector.ss, UInt64(Selector.spare)))
        // SS: null, RPL that is not CPL, read-only.
        #expect(load(0xD0, 0) == (Vector.gp, 0))
        #expect(load(0xD0, Selector.data | 1) == (Vector.gp, UInt64(Selector.data)))
        rig.setDescriptor(Selector.spare, 0x00CF_9100_0000_FFFF)
        #expect(load(0xD0, Selector.spare) == (Vector.gp, UInt64(Selector.spare)))
        // CS cannot be loaded; segment registers 6 and 7 do not exist.
        #expect(load(0xC8, Selector.code32).0 == Vector.ud)
        #expect(load(0xF0, Selector.data).0 == Vector.ud)
    }

    @Test func nullSegmentsLoadButCannotBeUsed() throws {
        let rig = try SystemRig(.protected32)
        // xor eax, eax; mov ds, ax; mov al, [B000h]
        #expect(rig.run([0x31, 0xC0, 0x8E, 0xD8, 0xA0, 0x00, 0xB0, 0x00, 0x00]) == Vector.gp)
        #expect(rig.stack(2, size: 4) == [0, SystemRig.code + 4])
    }

    @Test func bigSegmentsStayBigInRealMode() throws {
        let rig = try SystemRig(.protected32)
        rig.write([0x5A], at: 0x20_0000)
        // jmp 38h:1100h (16-bit code); mov eax, cr0; and al, FEh; mov cr0, eax; jmp 0:1120h
        rig.write([0x0F, 0x20, 0xC0, 0x24, 0xFE, 0x0F, 0x22, 0xC0, 0xEA, 0x20, 0x11, 0x00, 0x00], at: 0x1100)
        // xor ax, ax; mov ds, ax; mov bl, [dword 200000h]; hlt
        rig.write([0x31, 0xC0, 0x8E, 0xD8, 0x67, 0x8A, 0x1D, 0x00, 0x00, 0x20, 0x00, 0xF4], at: 0x1120)
        rig.run([0xEA, 0x00, 0x11, 0x00, 0x00, 0x38, 0x00])
        #expect(rig.s.pointee.rip == 0x112C)
        #expect(rig[Register.rbx] & 0xFF == 0x5A)
        #expect(rig.s.pointee.cr0 & CR0.pe == 0)
    }

    @Test func descriptorInstructionsAnswerInZF() throws {
        let rig = try SystemRig(.protected32)
        // mov ecx, 23h; lar eax, ecx; lsl ebx, ecx
        #expect(rig.run([0xB9, 0x23, 0, 0, 0, 0x0F, 0x02, 0xC1, 0x0F, 0x03, 0xD9]) == nil)
        #expect(rig.s.zf)
        #expect(rig[Register.rax] == 0x00CF_F300)
        #expect(rig[Register.rbx] == 0xFFFF_FFFF)
        // Ring 3 does not see ring 0's data, and registers stay: mov ecx, 10h; lar eax, ecx
        rig.enter(privilege: 3)
        rig[Register.rax] = 7
        rig.run([0xB9, 0x10, 0, 0, 0, 0x0F, 0x02, 0xC1])
        #expect(!rig.s.zf && rig[Register.rax] == 7)
        // verw of code; verr of the same
        rig.enter(privilege: 0)
        rig.run([0xB9, 0x08, 0, 0, 0, 0x0F, 0x00, 0xE9])
        #expect(!rig.s.zf)
        rig.run([0xB9, 0x08, 0, 0, 0, 0x0F, 0x00, 0xE1])
        #expect(rig.s.zf)
    }

    @Test func arplRaisesTheRequestedPrivilege() throws {
        let rig = try SystemRig(.protected32)
        rig[Register.rax] = 0x11
        rig[Register.rcx] = 0x02
        rig.run([0x63, 0xC8])
        #expect(rig[Register.rax] == 0x12 && rig.s.zf)
        rig.run([0x63, 0xC8])
        #expect(!rig.s.zf)
    }

    @Test func boundTrapsOutsideItsRange() throws {
        let rig = try SystemRig(.protected32)
        rig.write32(0xFFFF_FFFF, at: SystemRig.data)
        rig.write32(5, at: SystemRig.data + 4)
        rig[Register.rax] = 0xFFFF_FFFF
        #expect(rig.run([0x62, 0x05, 0x00, 0xB0, 0x00, 0x00]) == nil)
        rig[Register.rax] = 6
        #expect(rig.run([0x62, 0x05, 0x00, 0xB0, 0x00, 0x00]) == Vector.br)
    }

    @Test func tableRegistersRoundTrip() throws {
        let rig = try SystemRig(.protected32)
        // sgdt [B000h]; sidt [B010h]; str eax; sldt ebx
        rig.run([
            0x0F, 0x01, 0x05, 0, 0xB0, 0, 0, 0x0F, 0x01, 0x0D, 0x10, 0xB0, 0, 0, 0x0F, 0x00, 0xC8, 0x0F, 0x00, 0xC3,
        ])
        #expect(rig.memory.read(SystemRig.data, size: 2) == 0xFF)
        #expect(rig.memory.read(SystemRig.data + 2, size: 4) == SystemRig.gdt)
        #expect(rig.memory.read(SystemRig.data + 0x12, size: 4) == SystemRig.idt)
        #expect(rig[Register.rax] == UInt64(Selector.tss) && rig[Register.rbx] == 0)
        // lgdt [B000h] with another limit, then ltr of an available TSS makes it busy
        rig.write16(0x7F, at: SystemRig.data)
        rig.run([0x0F, 0x01, 0x15, 0, 0xB0, 0, 0, 0xB8, 0x70, 0, 0, 0, 0x0F, 0x00, 0xD8])
        #expect(rig.s.pointee.gdtr.limit == 0x7F)
        #expect(rig.s.pointee.tr.base == SystemRig.secondTSS)
        #expect(rig.memory.read(SystemRig.gdt + 0x75, size: 1) == 0x8B)
        #expect(rig.run([0xB8, 0x70, 0, 0, 0, 0x0F, 0x00, 0xD8]) == Vector.gp)
    }
}
