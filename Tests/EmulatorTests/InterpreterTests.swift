import Testing

@testable import Emulator

@Suite struct InterpreterTests {
    @Test func addSetsAllSixFlags() throws {
        let bare = try BareCPU(.flat64)
        bare[Register.rax] = 0x7F
        bare.run([0x04, 0x01])  // add al, 1
        #expect(bare[Register.rax] == 0x80)
        #expect(bare.s.flags & RFLAGS.arithmetic == RFLAGS.of | RFLAGS.sf | RFLAGS.af)
    }

    @Test func incKeepsCarry() throws {
        let bare = try BareCPU(.flat32)
        bare[Register.rcx] = 0xFFFF_FFFF
        bare.run([0xF9, 0x41])  // stc; inc ecx
        #expect(bare[Register.rcx] == 0)
        #expect(bare.s.cf && bare.s.zf && !bare.s.of)
    }

    @Test func thirtyTwoBitWritesClearTheUpperHalf() throws {
        let bare = try BareCPU(.flat64)
        bare[Register.rax] = ~0
        bare.run([0x89, 0xC0])  // mov eax, eax
        #expect(bare[Register.rax] == 0xFFFF_FFFF)
    }

    @Test func codeThatRewritesItsNextInstructionRunsTheNewOne() throws {
        let bare = try BareCPU(.flat64)
        // mov byte [rip+1], 0x42 ; mov al, 0  — the store patches the immediate of the second instruction.
        bare.s.pointee.budget = 100
        bare.write([0xC6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x42, 0xB0, 0x00, 0xEB, 0xFE], at: 0x1000)
        bare.s.pointee.rip = 0x1000
        bare[Register.rax] = 0
        _ = bare.cpu.execute()
        #expect(bare[Register.rax] & 0xFF == 0x42)
    }

    @Test func instructionsMayCrossPages() throws {
        let bare = try BareCPU(.flat64)
        bare.run([0x48, 0xB8, 1, 2, 3, 4, 5, 6, 7, 8], at: 0x1FFB)  // mov rax, imm64
        #expect(bare[Register.rax] == 0x0807_0605_0403_0201)
    }

    @Test func loopsLinkBlocksAndCount() throws {
        let bare = try BareCPU(.flat64)
        bare[Register.rcx] = 1000
        bare[Register.rax] = 0
        // add rax, rcx; dec rcx; jnz -8
        #expect(bare.run([0x48, 0x01, 0xC8, 0x48, 0xFF, 0xC9, 0x75, 0xF8]) == nil)
        #expect(bare[Register.rax] == 500_500)
    }

    @Test func repeatedMovesCopyAcrossPages() throws {
        let bare = try BareCPU(.flat64)
        let source = (0..<9000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        bare.write(source, at: 0x2_0123)
        bare[Register.rsi] = 0x2_0123
        bare[Register.rdi] = 0x3_0456
        bare[Register.rcx] = 9000
        bare.run([0xF3, 0xA4])
        #expect(bare.read(9000, at: 0x3_0456) == source)
        #expect(bare[Register.rcx] == 0 && bare[Register.rsi] == 0x2_0123 + 9000)
    }

    @Test func overlappingMovesRepeatThePattern() throws {
        let bare = try BareCPU(.flat64)
        bare.write([1, 2], at: 0x2_0000)
        bare[Register.rsi] = 0x2_0000
        bare[Register.rdi] = 0x2_0002
        bare[Register.rcx] = 6
        bare.run([0xF3, 0xA4])
        #expect(bare.read(8, at: 0x2_0000) == [1, 2, 1, 2, 1, 2, 1, 2])
    }

    @Test func divisionByZeroFaultsAndKeepsRegisters() throws {
        let bare = try BareCPU(.flat64)
        bare[Register.rax] = 5
        bare[Register.rcx] = 0
        #expect(bare.run([0x48, 0xF7, 0xF1]) == Vector.de)
        #expect(bare[Register.rax] == 5 && bare.s.pointee.rip == BareCPU.codeAddress)
    }

    @Test func signedDivisionOfTheSmallestNumberByMinusOneFaults() throws {
        let bare = try BareCPU(.flat32)
        bare[Register.rax] = 0x8000_0000
        bare[Register.rdx] = 0xFFFF_FFFF
        bare[Register.rcx] = 0xFFFF_FFFF
        #expect(bare.run([0xF7, 0xF9]) == Vector.de)
    }

    @Test func realModeOffsetsBeyondTheLimitFault() throws {
        let bare = try BareCPU(.real16)
        bare[Register.rbx] = 0xFFFF
        #expect(bare.run([0x8B, 0x07]) == Vector.gp)  // mov ax, [bx]
    }

    @Test func bitTestsReachBeyondTheirOperandByRegister() throws {
        let bare = try BareCPU(.flat64)
        bare[Register.rbx] = BareCPU.dataAddress
        bare[Register.rax] = UInt64(bitPattern: -3)
        bare.write([0], at: BareCPU.dataAddress - 1)
        bare.run([0x48, 0x0F, 0xAB, 0x03])  // bts [rbx], rax
        #expect(bare.read(1, at: BareCPU.dataAddress - 1) == [0x20])
        #expect(!bare.s.cf)
    }

    @Test func anUnknownOpcodeIsUndefined() throws {
        let bare = try BareCPU(.flat64)
        #expect(bare.run([0x0F, 0xFF, 0xC0]) == Vector.ud)
        #expect(bare.run([0x06]) == Vector.ud)
    }

    @Test func aLockPrefixNeedsMemory() throws {
        let bare = try BareCPU(.flat64)
        #expect(bare.run([0xF0, 0x01, 0xC8]) == Vector.ud)
        bare[Register.rbx] = BareCPU.dataAddress
        #expect(bare.run([0xF0, 0x01, 0x03]) == nil)
    }
}
