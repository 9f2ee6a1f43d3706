import Testing

@testable import Emulator

/// Where operands are: implicit ones and their segments, limits at branches, the stack, alignment.
@Suite struct SystemOperandTests {
    typealias Selector = SystemRig.Selector
    private static let engines: [Engine] = [.interpreter, .translator]
    /// In the hole between the canonical addresses, with room on both sides.
    private static let noAddress: UInt64 = 0x8000_0001_0000

    @Test func XLATReadsThroughItsSegment() throws {
        let real = try SystemRig(.real)
        real.s.pointee.segments[SegmentIndex.ds].base = 0x2_0000
        real.s.pointee.segments[SegmentIndex.es].base = 0x3_0000
        real[Register.rbx] = 0xFFFE
        real.write([0x11], at: 0x2_0003)
        real.write([0x22], at: 0x3_0003)
        real[Register.rax] = 5
        #expect(real.run([0xD7]) == nil)
        #expect(real[Register.rax] == 0x11)
        real[Register.rax] = 5
        #expect(real.run([0x26, 0xD7]) == nil)
        #expect(real[Register.rax] == 0x22)

        let limited = try SystemRig(.protected32)
        limited.s.pointee.segments[SegmentIndex.ds] = Segment(
            selector: Selector.data, attributes: 0xC093, limit: 0xFFF, base: 0x2_0000)
        limited.cpu.updateMode()
        limited[Register.rbx] = 0xFF0
        limited[Register.rax] = 0xF
        #expect(limited.run([0xD7]) == nil)
        limited[Register.rax] = 0x10
        #expect(limited.run([0xD7]) == Vector.gp)

        let long = try SystemRig(.long64)
        long.s.pointee.segments[SegmentIndex.fs].base = 0x2_0000
        long.write([0x33], at: 0x2_0013)
        long[Register.rbx] = 0x10
        long[Register.rax] = 3
        #expect(long.run([0x64, 0xD7]) == nil)
        #expect(long[Register.rax] == 0x33)
    }

    @Test func maskedStoresGoThroughTheirSegment() throws {
        let rig = try SystemRig(.protected32)
        rig.s.pointee.cr4 |= CR4.osfxsr
        rig.s.pointee.segments[SegmentIndex.es] = Segment(
            selector: Selector.data, attributes: 0xC093, limit: 0xFFFF, base: 0x2_0000)
        rig.cpu.updateMode()
        rig[Register.rdi] = SystemRig.data
        rig.s.xmm[0] = V128(low: 0x8877_6655_4433_2211, high: 0)
        rig.s.xmm[1] = V128(low: 0x80, high: 0)
        #expect(rig.run([0x26, 0x66, 0x0F, 0xF7, 0xC1]) == nil)
        #expect(rig.memory.read(0x2_0000 + SystemRig.data, size: 2) == 0x11)
        #expect(rig.memory.read(SystemRig.data, size: 2) == 0)
        // The address size is a prefix's: DI alone.
        rig[Register.rdi] = 0x1_0000 | SystemRig.data
        #expect(rig.run([0x67, 0x66, 0x0F, 0xF7, 0xC1]) == nil)
        #expect(rig.memory.read(SystemRig.data, size: 2) == 0x11)
    }

    @Test(arguments: engines) func nothingIsStoredThroughCS(engine: Engine) throws {
        let bare = try BareCPU(.flat32, engine: engine)
        bare[Register.rbx] = BareCPU.dataAddress
        bare[Register.rax] = 0x1234
        #expect(bare.run([0x2E, 0x89, 0x03]) == Vector.gp)
        #expect(bare.run([0x2E, 0xFF, 0x03]) == Vector.gp)
        #expect(bare.run([0x2E, 0x8B, 0x0B]) == nil)
        #expect(bare.read(4, at: BareCPU.dataAddress) == [0, 0, 0, 0])
    }

    @Test func branchesCheckTheLimitBeforeTheyAreTaken() throws {
        // jmp rel32, jmp rel8, jz rel8, jz rel32, loop, jecxz, call: all to 2000h or beyond.
        let branches: [[UInt8]] = [
            [0xE9, 0x10, 0, 0, 0], [0xEB, 0x20], [0x74, 0x20], [0x0F, 0x84, 0x10, 0, 0, 0], [0xE2, 0x20], [0xE3, 0x20],
            [0xE8, 0x10, 0, 0, 0],
        ]
        for bytes in branches {
            let rig = try SystemRig(.protected32)
            rig.s.pointee.segments[SegmentIndex.cs].limit = 0x1FFF
            rig.cpu.updateMode()
            rig.s.flags = RFLAGS.zf
            rig[Register.rcx] = bytes[0] == 0xE2 ? 2 : 0
            #expect(rig.run(bytes, at: 0x1FF0) == Vector.gp, "\(bytes)")
            #expect(rig.stack(2, size: 4) == [0, 0x1FF0], "\(bytes)")
            #expect(rig[Register.rcx] == (bytes[0] == 0xE2 ? 2 : 0))
            // Not taken, they do not mind.
            rig.enter(privilege: 0)
            rig.s.pointee.segments[SegmentIndex.cs].limit = 0x1FFF
            rig.cpu.updateMode()
            rig.s.flags = 0
            rig[Register.rcx] = 1
            if bytes[0] != 0xE9, bytes[0] != 0xEB, bytes[0] != 0xE8 {
                #expect(rig.run(bytes, at: 0x1FF0) == nil, "\(bytes)")
            }
        }
    }

    @Test(arguments: engines) func branchesOutOfTheAddressSpaceFaultWhereTheyStand(engine: Engine) throws {
        let rig = try SystemRig(.long64, engine: engine)
        // The last canonical page before the hole, mapped: PML4 10000h and so on down to code at 1000h.
        for (table, next) in [(UInt64(0x1_0000), UInt64(0x1_1000)), (0x1_1000, 0x1_2000), (0x1_2000, 0x1_3000)] {
            rig.write64(next | 7, at: table + (table == 0x1_0000 ? 255 : 511) * 8)
            rig.write64(next | 7, at: table)
        }
        for page in 0..<512 { rig.write64(UInt64(page) << 12 | 3, at: 0x1_3000 + UInt64(page) * 8) }
        rig.write64(SystemRig.code | 3, at: 0x1_3000 + 511 * 8)
        rig.s.pointee.cr4 |= CR4.pae
        rig.s.pointee.cr3 = 0x1_0000
        rig.s.pointee.cr0 |= CR0.pg
        rig.cpu.flushTLB()
        let place: UInt64 = 0x7FFF_FFFF_FFF0
        for bytes: [UInt8] in [[0xEB, 0x20], [0x74, 0x20], [0xE8, 0x10, 0, 0, 0]] {
            rig.enter(privilege: 0)
            rig.write(bytes + [0xF4], at: SystemRig.code + 0xFF0)
            rig.s.flags = RFLAGS.zf
            rig.s.pointee.rip = place
            rig.s.pointee.halted = false
            _ = rig.cpu.run(budget: 1000)
            #expect(rig.handlerReached == Vector.gp, "\(bytes)")
            #expect(rig.stack(2, size: 8) == [0, place], "\(bytes)")
        }
    }

    @Test(arguments: engines) func theStackHasItsOwnFault(engine: Engine) throws {
        let bare = try BareCPU(.flat64, engine: engine)
        // push rax; pop rax; call; ret; enter; pushfq; push 1; mov rax, [rsp]; add [rbp+8], rax; pop [rsp]
        let onStack: [[UInt8]] = [
            [0x50], [0x58], [0xE8, 0, 0, 0, 0], [0xC3], [0xC8, 0, 0, 0], [0x9C], [0x6A, 1], [0x48, 0x8B, 0x04, 0x24],
            [0x48, 0x01, 0x45, 8], [0x8F, 0x04, 0x24], [0xC9], [0xFF, 0x33], [0x0F, 0x6F, 0x04, 0x24],
            [0x3E, 0x48, 0x8B, 0x04, 0x24],
        ]
        for bytes in onStack {
            bare[Register.rsp] = Self.noAddress
            bare[Register.rbp] = Self.noAddress
            bare[Register.rbx] = BareCPU.dataAddress
            #expect(bare.run(bytes) == Vector.ss, "\(bytes)")
            #expect(bare.s.pointee.fault.errorCode == 0)
            #expect(bare[Register.rsp] == Self.noAddress)
        }
        bare[Register.rsp] = BareCPU.stackTop
        bare[Register.rbx] = Self.noAddress
        // mov rax, [rbx]; push [rbx]; call rbx; movd [rbx], mm0; ss: changes nothing
        let elsewhere: [[UInt8]] = [
            [0x48, 0x8B, 0x03], [0xFF, 0x33], [0xFF, 0xD3], [0x0F, 0x7E, 0x03], [0x36, 0x48, 0x8B, 0x03],
        ]
        for bytes in elsewhere { #expect(bare.run(bytes) == Vector.gp, "\(bytes)") }
        // FS is named, so it is no stack.
        bare[Register.rbp] = Self.noAddress
        #expect(bare.run([0x64, 0x48, 0x8B, 0x45, 0]) == Vector.gp)
    }

    @Test func aFaultingMMXStoreLeavesTheX87Alone() throws {
        let bare = try BareCPU(.flat64)
        for bytes: [UInt8] in [[0x0F, 0x7E, 0x03], [0x0F, 0x7F, 0x03], [0x0F, 0xE7, 0x03], [0x0F, 0xFC, 0x03]] {
            bare.s.pointee.fpu.top = 3
            bare.s.pointee.fpu.emptyMask = 0xF0
            bare[Register.rbx] = Self.noAddress
            #expect(bare.run(bytes) == Vector.gp)
            #expect(bare.s.pointee.fpu.top == 3 && bare.s.pointee.fpu.emptyMask == 0xF0, "\(bytes)")
        }
    }

    @Test func MONITORReadsAndMWAITSleepsWhereSomethingCanWakeIt() throws {
        let rig = try SystemRig(.long64, features: CPUFeatures(model: "max"))
        rig[Register.rax] = Self.noAddress
        #expect(rig.run([0x0F, 0x01, 0xC8]) == Vector.gp)
        rig.enter(privilege: 0)
        rig[Register.rax] = SystemRig.data
        #expect(rig.run([0x0F, 0x01, 0xC8, 0x0F, 0x01, 0xC9, 0xFF, 0xC3]) == nil)
        #expect(rig[Register.rbx] == 1, "nothing could wake it")
        rig.s.flags = RFLAGS.interrupt
        #expect(rig.run([0x0F, 0x01, 0xC9, 0xFF, 0xC3]) == nil)
        #expect(rig.s.pointee.halted && rig.s.pointee.rip == SystemRig.code + 3)
    }

    // MARK: Segment registers

    @Test func returnsOutwardsClearSelectorsAndKeepHiddenBases() throws {
        let rig = try SystemRig(.long64)
        for isInterrupt in [false, true] {
            rig.enter(privilege: 0)
            rig.s.pointee.segments[SegmentIndex.fs].base = 0x1234_5678_9000
            // Null with an RPL.
            rig.s.pointee.segments[SegmentIndex.gs] = Segment(selector: 3, base: 0x4000)
            rig.s.pointee.segments[SegmentIndex.ds] = Segment(selector: 2)
            let frame: [UInt64] =
                [SystemRig.code + 0x80, UInt64(Selector.userCode64)] + (isInterrupt ? [2] : [])
                + [SystemRig.userStack, UInt64(Selector.userData)]
            for (i, word) in frame.enumerated() { rig.write64(word, at: 0x7800 + UInt64(i) * 8) }
            rig[Register.rsp] = 0x7800
            rig.write([0x0F, 0x0B], at: SystemRig.code + 0x80)
            #expect(rig.run(isInterrupt ? [0x48, 0xCF] : [0x48, 0xCB]) == Vector.ud)
            let segments = rig.s.pointee.segments
            #expect([segments[SegmentIndex.fs].selector, segments[SegmentIndex.gs].selector] == [0, 0])
            #expect(segments[SegmentIndex.ds].selector == 0)
            #expect(segments[SegmentIndex.fs].base == 0x1234_5678_9000 && !segments[SegmentIndex.fs].isPresent)
            #expect(segments[SegmentIndex.gs].base == 0x4000)
        }
    }

    @Test func LLDTWantsACanonicalBase() throws {
        let rig = try SystemRig(.long64)
        rig.setDescriptor(Selector.spare, 0x0000_8200_0000_00FF)
        rig.write64(0x8000, at: SystemRig.gdt + UInt64(Selector.spare) + 8)
        rig[Register.rax] = UInt64(Selector.spare)
        #expect(rig.run([0x0F, 0x00, 0xD0]) == Vector.gp)
        #expect(rig.stack(1, size: 8) == [UInt64(Selector.spare)])
        rig.write64(0xFFFF_8000, at: SystemRig.gdt + UInt64(Selector.spare) + 8)
        rig.enter(privilege: 0)
        #expect(rig.run([0x0F, 0x00, 0xD0]) == nil)
    }

    @Test func CR8IsTheUpperHalfOfTheTaskPriority() throws {
        let rig = try SystemRig(.long64)
        var priority: UInt8 = 0
        rig.cpu.writeTaskPriority = { priority = $0 }
        rig.cpu.readTaskPriority = { priority }
        rig[Register.rax] = 9
        #expect(rig.run([0x44, 0x0F, 0x22, 0xC0, 0x44, 0x0F, 0x20, 0xC3]) == nil)
        #expect(priority == 0x90)
        #expect(rig[Register.rbx] == 9)
    }

    // MARK: Alignment

    @Test(arguments: engines) func userAccessesAreAlignedWhereThatIsAskedFor(engine: Engine) throws {
        let rig = try SystemRig(.protected32, engine: engine)
        // mov eax, [ebx]; hlt, which raises #GP at CPL 3
        let load: [UInt8] = [0x8B, 0x03]
        func run(_ bytes: [UInt8], at address: UInt64, mask: Bool = true, flag: Bool = true, privilege: UInt8 = 3)
            -> UInt8?
        {
            rig.s.pointee.cr0 = mask ? rig.s.pointee.cr0 | CR0.am : rig.s.pointee.cr0 & ~CR0.am
            rig.s.flags = flag ? RFLAGS.ac : 0
            rig.enter(privilege: privilege)
            rig[Register.rbx] = address
            return rig.run(bytes)
        }
        #expect(run(load, at: SystemRig.data, flag: false) == Vector.gp)
        #expect(run(load, at: SystemRig.data + 1) == Vector.ac)
        #expect(rig.stack(2, size: 4) == [0, SystemRig.code])
        #expect(run(load, at: SystemRig.data) == Vector.gp)
        #expect(run(load, at: SystemRig.data + 1, mask: false) == Vector.gp)
        #expect(run(load, at: SystemRig.data + 1, flag: false) == Vector.gp)
        #expect(run(load, at: SystemRig.data + 1, privilege: 0) == nil)
        // mov [ebx], ax; inc dword [ebx]; mov al, [ebx]
        #expect(run([0x66, 0x89, 0x03], at: SystemRig.data + 1) == Vector.ac)
        #expect(run([0xFF, 0x03], at: SystemRig.data + 2) == Vector.ac)
        #expect(run([0x8A, 0x03], at: SystemRig.data + 1) == Vector.gp)
        // POPF turns it on between two instructions of a block: push 40002h; popfd; mov eax, [ebx]
        #expect(run([0x68, 2, 0, 4, 0, 0x9D] + load, at: SystemRig.data + 1, flag: false) == Vector.ac)
        #expect(rig.stack(2, size: 4)[1] == SystemRig.code + 6)
    }
}
