import Testing

@testable import Emulator

@Suite struct SystemControlTests {
    @Test func protectedModeIsEnteredAsBootLoadersDo() throws {
        let rig = try SystemRig(.real)
        let gdt: [UInt64] = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF]
        for (i, entry) in gdt.enumerated() { rig.write64(entry, at: SystemRig.gdt + UInt64(i) * 8) }
        rig.write16(0x17, at: SystemRig.data)
        rig.write32(UInt32(SystemRig.gdt), at: SystemRig.data + 2)
        // 32-bit: mov ax, 10h; mov ss, ax; mov ds, ax; mov es, ax; hlt
        rig.write([0x66, 0xB8, 0x10, 0, 0x8E, 0xD0, 0x8E, 0xD8, 0x8E, 0xC0, 0xF4], at: 0x1800)
        // cli; lgdt [B000h]; mov eax, cr0; or al, 1; mov cr0, eax; jmp 8:1800h
        rig.run([
            0xFA, 0x0F, 0x01, 0x16, 0x00, 0xB0, 0x0F, 0x20, 0xC0, 0x0C, 1, 0x0F, 0x22, 0xC0, 0xEA, 0, 0x18, 8, 0,
        ])
        #expect(rig.s.pointee.rip == 0x180B)
        #expect(rig.s.pointee.modeKey == ModeKey.code32 | ModeKey.stack32 | ModeKey.flat)
    }

    @Test func longModeIsActivatedByPagingAndLeftWithIt() throws {
        let rig = try SystemRig(.protected32)
        // Identity map of the first 2 MiB: PML4 at 10000h, PDPT 11000h, PD 12000h.
        rig.write64(0x1_1003, at: 0x1_0000)
        rig.write64(0x1_2003, at: 0x1_1000)
        rig.write64(0x83, at: 0x1_2000)
        rig.s.pointee.cr3 = 0x1_0000
        // PG with LME needs PAE.
        rig.s.pointee.efer = EFER.lme
        let setPaging: [UInt8] = [0x0F, 0x20, 0xC0, 0x0D, 0, 0, 0, 0x80, 0x0F, 0x22, 0xC0]
        #expect(rig.run(setPaging) == Vector.gp)
        rig.s.pointee.cr4 |= CR4.pae
        rig.enter(privilege: 0)
        #expect(rig.run(setPaging) == nil)
        #expect(rig.s.pointee.efer == EFER.lme | EFER.lma)
        #expect(!rig.s.pointee.is64Bit)
        // LME cannot change while paging, PAE cannot go: the IDT is no 64-bit one, so look at the functions.
        #expect(!rig.cpu.writeEFER(0))
        #expect(!rig.cpu.writeCR4(0))
        rig.s.pointee.fault.isPending = false
        // mov eax, cr0; and eax, 7FFFFFFFh; mov cr0, eax
        #expect(rig.run([0x0F, 0x20, 0xC0, 0x25, 0xFF, 0xFF, 0xFF, 0x7F, 0x0F, 0x22, 0xC0]) == nil)
        #expect(rig.s.pointee.efer == EFER.lme)
    }

    @Test func controlRegistersRefuseReservedValues() throws {
        let rig = try SystemRig(.protected32)
        func refuses(_ write: () -> Bool) -> Bool {
            let ok = write()
            let pending = rig.s.pointee.fault
            rig.s.pointee.fault.isPending = false
            return !ok && pending.vector == Vector.gp && pending.errorCode == 0
        }
        #expect(refuses { rig.cpu.writeCR0(CR0.pg) })
        #expect(refuses { rig.cpu.writeCR0(CR0.pe | CR0.nw) })
        #expect(refuses { rig.cpu.writeCR0(1 << 32) })
        #expect(refuses { rig.cpu.writeCR4(1 << 12) })
        #expect(refuses { rig.cpu.writeCR4(CR4.osxsave) })
        #expect(refuses { rig.cpu.writeEFER(1 << 1) })
        #expect(refuses { rig.cpu.writeCR8(16) })
        #expect(refuses { rig.cpu.writeMSR(0xC000_0082, 0x8000_0000_0000) })
        #expect(refuses { rig.cpu.writeMSR(0x277, 0x0202_0202_0202_0202) })
        // CR1 does not exist.
        #expect(rig.run([0x0F, 0x20, 0xC8]) == Vector.ud)
    }

    @Test func pagePointersWithReservedBitsAreRefused() throws {
        let rig = try SystemRig(.protected32)
        rig.write64(0x1_1001 | 0x100, at: 0x1_0000)
        rig.s.pointee.cr3 = 0x1_0000
        rig.s.pointee.cr4 = CR4.pae
        #expect(!rig.cpu.writeCR0(CR0.pe | CR0.pg))
        rig.write64(0x1_1001, at: 0x1_0000)
        #expect(rig.cpu.writeCR0(CR0.pe | CR0.pg))
    }

    @Test func unknownMSRsFaultAndAreLoggedOnce() throws {
        let rig = try SystemRig(.long64)
        var lines = 0
        rig.cpu.log = { _ in lines += 1 }
        // mov ecx, 12345678h; rdmsr
        for _ in 0..<2 {
            rig.enter(privilege: 0)
            #expect(rig.run([0xB9, 0x78, 0x56, 0x34, 0x12, 0x0F, 0x32]) == Vector.gp)
        }
        #expect(lines == 1)
    }

    @Test func timeStampCounterFollowsItsMSR() throws {
        let rig = try SystemRig(.long64)
        rig.cpu.tscNow = { 1000 }
        // mov ecx, 10h; mov eax, 5; xor edx, edx; wrmsr; rdtsc
        rig.run([0xB9, 0x10, 0, 0, 0, 0xB8, 5, 0, 0, 0, 0x31, 0xD2, 0x0F, 0x30, 0x0F, 0x31])
        #expect(rig[Register.rax] == 5 && rig[Register.rdx] == 0)
        rig.s.pointee.tscAux = 9
        rig.run([0x0F, 0x01, 0xF9])
        #expect(rig[Register.rcx] == 9)
        rig.s.pointee.cr4 |= CR4.tsd
        rig.enter(privilege: 3)
        #expect(rig.run([0x0F, 0x31]) == Vector.gp)
    }

    @Test func processorIdentifiesItself() throws {
        let rig = try SystemRig(.long64)
        let names = rig.cpu.cpuid(0, 0)
        let bytes = [names.ebx, names.edx, names.ecx].flatMap { word in
            (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32($0 * 8)) }
        }
        #expect(String(decoding: bytes, as: UTF8.self) == "GenuineIntel")
        // x86-64-v2: SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT; LAHF; SYSCALL, NX, long mode.
        let level2: UInt32 = 1 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23
        #expect(rig.cpu.cpuid(1, 0).ecx & level2 == level2)
        #expect(rig.cpu.cpuid(0x8000_0001, 0).edx & 0x2010_0800 == 0x2010_0800)
        #expect(rig.cpu.cpuid(0x8000_0007, 0).edx == 0x100)
        // TSC frequency: crystal * EBX / EAX.
        let clock = rig.cpu.cpuid(0x15, 0)
        #expect(UInt64(clock.ecx) * UInt64(clock.ebx) / UInt64(clock.eax) == 1_000_000_000)
    }

    @Test func segmentBasesAreReadAndWritten() throws {
        let rig = try SystemRig(.long64)
        #expect(rig.run([0xF3, 0x48, 0x0F, 0xAE, 0xC0]) == Vector.ud)
        rig.s.pointee.cr4 |= CR4.fsgsbase
        rig.enter(privilege: 3)
        rig[Register.rax] = 0x7FFF_1234_5678
        // wrfsbase rax; rdfsbase rbx
        rig.run([0xF3, 0x48, 0x0F, 0xAE, 0xD0, 0xF3, 0x48, 0x0F, 0xAE, 0xC3])
        #expect(rig[Register.rbx] == 0x7FFF_1234_5678)
        rig[Register.rax] = 0x8000_0000_0000
        rig.enter(privilege: 3)
        #expect(rig.run([0xF3, 0x48, 0x0F, 0xAE, 0xD0]) == Vector.gp)
    }

    @Test func dataBreakpointsTrapAfterTheAccess() throws {
        let rig = try SystemRig(.protected32)
        rig.cpu.writeDebugRegister(0, SystemRig.data + 4)
        // Break on writes of four bytes.
        rig.cpu.writeDebugRegister(7, 1 | 1 << 16 | 3 << 18)
        // mov eax, [B004h]; mov [B006h], al; inc eax
        rig[Register.rax] = 0
        #expect(rig.run([0xA1, 4, 0xB0, 0, 0, 0xA2, 6, 0xB0, 0, 0, 0x40]) == Vector.db)
        #expect(rig.stack(1, size: 4) == [SystemRig.code + 10])
        #expect(rig.s.pointee.debugRegisters[6] & 0xF == 1)
    }
}
