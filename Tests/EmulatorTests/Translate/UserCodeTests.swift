#if arch(x86_64)
    import Seeded
    import Testing

    @testable import Emulator

    /// Programs of users under the translator: code that is mapped at several addresses, and loops whose accesses keep their page.
    @Suite("translated programs of users") struct UserCodeTests {
        private static let dataPage: UInt64 = 0x100
        private static var data: UInt64 { BareCPU.userBase + dataPage << 12 }
        private static let code: UInt64 = 0x1000
        private static let pages: UInt64 = 16

        private func machine(_ engine: Engine = .translator) throws -> BareCPU {
            let bare = try BareCPU(.flat64, engine: engine)
            bare.enterUserMode()
            return bare
        }

        /// Runs until `rip` stays at the jump to itself behind the code.
        /// - Returns: the vector of a fault.
        private func run(_ bare: BareCPU, from start: UInt64, end: UInt64) -> UInt8? {
            bare.s.pointee.rip = start
            bare.s.pointee.fault.isPending = false
            for _ in 0..<10_000 where bare.s.pointee.rip != end {
                bare.s.pointee.budget = 1000
                if case .fault = bare.cpu.execute() { return bare.s.pointee.fault.vector }
            }
            #expect(bare.s.pointee.rip == end)
            return nil
        }

        /// add rax, [rsi]; add rsi, 8; dec rcx; jnz; jmp to itself
        private static let sum: [UInt8] = [
            0x48, 0x03, 0x06, 0x48, 0x83, 0xC6, 8, 0x48, 0xFF, 0xC9, 0x75, 0xF4, 0xEB, 0xFE,
        ]
        /// mov [rsi], rax; add rsi, 8; dec rcx; jnz; jmp to itself
        private static let fill: [UInt8] = [
            0x48, 0x89, 0x06, 0x48, 0x83, 0xC6, 8, 0x48, 0xFF, 0xC9, 0x75, 0xF4, 0xEB, 0xFE,
        ]

        private func walk(_ bare: BareCPU, value: UInt64 = 0) -> UInt8? {
            bare[Register.rax] = value
            bare[Register.rsi] = Self.data
            bare[Register.rcx] = Self.pages * 512
            return run(
                bare, from: BareCPU.userBase + Self.code, end: BareCPU.userBase + Self.code + UInt64(Self.sum.count) - 2
            )
        }

        private func words(_ bare: BareCPU, page: UInt64, _ value: UInt64) {
            for i in 0..<UInt64(512) {
                withUnsafeBytes(of: value) { bare.memory.write(page << 12 + i * 8, from: $0) }
            }
        }

        @Test func aLoopSeesPagesThatWereMappedAnew() throws {
            let bare = try machine()
            bare.write(Self.sum, at: Self.code)
            for page in 0..<Self.pages { words(bare, page: Self.dataPage + page, page + 1) }
            #expect(walk(bare) == nil)
            #expect(bare[Register.rax] == 512 * (1...Self.pages).reduce(0, +))
            words(bare, page: 0x180, 1000)
            bare.remap(userPage: Self.dataPage + Self.pages - 1, to: 0x180 << 12)
            #expect(walk(bare) == nil)
            #expect(bare[Register.rax] == 512 * ((1..<Self.pages).reduce(0, +) + 1000))
            bare.remap(userPage: Self.dataPage + 3, to: 0, bits: 0)
            #expect(walk(bare) == Vector.pf)
            #expect(bare.s.pointee.cr2 == Self.data + 3 << 12)
            #expect(bare[Register.rcx] == (Self.pages - 3) * 512)
        }

        @Test func aLoopOfStoresSeesThatAPageMayNotBeWrittenAnyMore() throws {
            let bare = try machine()
            bare.write(Self.fill, at: Self.code)
            #expect(walk(bare, value: 7) == nil)
            let last = Self.dataPage + Self.pages - 1
            bare.remap(userPage: last, to: last << 12, bits: 0x65)
            #expect(walk(bare, value: 9) == Vector.pf)
            #expect(bare.read(1, at: last << 12) == [7])
            #expect(bare.read(1, at: (last << 12) - 8) == [9])
        }

        @Test func storesIntoAPageThatBecameCodeAreSeen() throws {
            let bare = try machine()
            bare.write(Self.fill, at: Self.code)
            let last = Self.dataPage + Self.pages - 1
            // inc edx; jmp to itself, again and again: whatever is entered is code.
            #expect(walk(bare, value: 0xFEEB_C2FF_FEEB_C2FF) == nil)
            bare[Register.rdx] = 5
            #expect(run(bare, from: BareCPU.userBase + last << 12, end: BareCPU.userBase + last << 12 + 2) == nil)
            #expect(bare[Register.rdx] == 6)
            // dec edx instead.
            #expect(walk(bare, value: 0xFEEB_CAFF_FEEB_CAFF) == nil)
            #expect(run(bare, from: BareCPU.userBase + last << 12, end: BareCPU.userBase + last << 12 + 2) == nil)
            #expect(bare[Register.rdx] == 5)
        }

        @Test func addressesThatAreNotCanonicalFaultWhateverTheLoopSawBefore() throws {
            let bare = try machine()
            bare.write(Self.sum, at: Self.code)
            #expect(walk(bare) == nil)
            for address in [UInt64(1) << 63, 1 << 47, 0xFFFF_8000_0000_0000] {
                for isFlushed in [false, true] {
                    if isFlushed { bare.cpu.flushTLB() }
                    bare[Register.rsi] = address
                    bare[Register.rcx] = 4
                    let start = BareCPU.userBase + Self.code
                    let vector = run(bare, from: start, end: start + UInt64(Self.sum.count) - 2)
                    #expect(vector == (address >> 47 == 0x1FFFF ? Vector.pf : Vector.gp))
                }
            }
        }

        /// A program that tells where it is: by CALL, by LEA and through a RIP-relative load; and calls another page.
        @Test func codeMappedTwiceKnowsWhereItIs() throws {
            let bare = try machine()
            bare.cpu.translator?.hotness = 0
            // call +0; pop rax; lea rbx, [rip]; mov rdx, [rip + 0x3F0]; call the next page; jmp to itself
            let program: [UInt8] = [
                0xE8, 0, 0, 0, 0, 0x58, 0x48, 0x8D, 0x1D, 0, 0, 0, 0, 0x48, 0x8B, 0x15, 0xF0, 3, 0, 0,
                0xE8, 0xE7, 0x0F, 0, 0, 0xEB, 0xFE,
            ]
            bare.write(program, at: 0x3000)
            words(bare, page: 0x4, 0)
            bare.write([0x48, 0x8B, 0x0C, 0x24, 0xC3], at: 0x4000)  // mov rcx, [rsp]; ret
            bare.write([1, 2, 3, 4, 5, 6, 7, 8], at: 0x3000 + 20 + 0x3F0)
            for place in [0x3, 0x40, 0x80, 0x3, 0x80] as [UInt64] {
                bare.remap(userPage: place, to: 0x3000)
                bare.remap(userPage: place + 1, to: 0x4000)
                let start = BareCPU.userBase + place << 12
                for _ in 0..<3 {
                    bare[Register.rsp] = BareCPU.userBase + 0x5_0000
                    #expect(run(bare, from: start, end: start + 25) == nil)
                    #expect(bare[Register.rax] == start + 5)
                    #expect(bare[Register.rbx] == start + 13)
                    #expect(bare[Register.rdx] == 0x0807_0605_0403_0201)
                    #expect(bare[Register.rcx] == start + 25)
                }
            }
            // All of them are told of a change.
            bare.write([0x31, 0xC9, 0x90, 0x90, 0xC3], at: 0x4000)  // xor ecx, ecx; ret
            for place in [0x80, 0x40, 0x3] as [UInt64] {
                let start = BareCPU.userBase + place << 12
                #expect(run(bare, from: start, end: start + 25) == nil)
                #expect(bare[Register.rcx] == 0)
            }
        }

        /// Loads and stores of all sizes at strides that cross pages.
        @Test func loopsOfAllStridesLeaveTheSameMemory() throws {
            var random = SeededRandom(7)
            let engines = try [machine(.interpreter), machine()]
            for round in 0..<40 {
                let size = random.below(4), disp = UInt8(random.below(128))
                var body: [UInt8] = [[0x0F, 0xB6], [0x0F, 0xB7], [0x8B], [0x48, 0x8B]][size] + [0x54, 0x1D, disp]
                body += [0x48, 0x01, 0xD0, 0x48, 0xC1, 0xC0, 7]  // add rax, rdx; rol rax, 7
                body += [[0x88], [0x66, 0x89], [0x89], [0x48, 0x89]][random.below(4)] + [0x44, 0x3D, disp]
                for modRM in [0xC3, 0xC7] as [UInt8] {
                    let stride = Int32(random.oneIn(2) ? random.below(17) - 8 : random.below(9000) - 4500)
                    body += [0x81, modRM] + withUnsafeBytes(of: stride) { [UInt8]($0) }
                    body += [0x81, modRM + 0x20, 0xFF, 0x7F, 0x03, 0]  // and …, 0x37FFF
                }
                body += [0x48, 0xFF, 0xC9, 0x75]
                body += [UInt8(truncatingIfNeeded: -(body.count + 1)), 0xEB, 0xFE]
                for bare in engines {
                    bare.write(body, at: Self.code)
                    bare[Register.rbp] = Self.data
                    bare[Register.rbx] = 0
                    bare[Register.rdi] = 0x1234
                    bare[Register.rcx] = 3000
                    let start = BareCPU.userBase + Self.code
                    #expect(run(bare, from: start, end: start + UInt64(body.count) - 2) == nil, "round \(round)")
                }
                #expect(engines[0][Register.rax] == engines[1][Register.rax], "round \(round)")
                let memory = engines.map { $0.read(0x4_0000, at: Self.dataPage << 12) }
                #expect(memory[0] == memory[1], "round \(round)")
            }
        }
    }
#endif
