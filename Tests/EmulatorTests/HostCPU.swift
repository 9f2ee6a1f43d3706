#if arch(x86_64)
    import Glibc

    /// The processor that the tests run on, as an oracle: runs instructions natively with a given state and returns the
    /// state after them.
    ///
    /// Instructions must not fault, must leave RSP as it was and must not branch out of their bytes.
    final class HostCPU {
        /// Byte offsets in the state block: general registers in encoding order (RSP is ignored), RFLAGS, FXSAVE images.
        private enum Offset {
            static let flags: Int32 = 128, fx: Int32 = 192, hostFX: Int32 = 704, size = 1280
        }

        struct State {
            /// RAX, RCX, RDX, RBX, (RSP), RBP, RSI, RDI, R8–R15.
            var gpr = [UInt64](repeating: 0, count: 16)
            var flags: UInt64 = 0x202
            /// FXSAVE64 image: x87 control at 0, status at 2, tags at 4, MXCSR at 24, ST at 32, XMM at 160.
            var fx = [UInt8](repeating: 0, count: 512)

            init() {
                setFX(0, UInt16(0x037F))
                setFX(24, UInt32(0x1F80))
            }

            func fx<T: FixedWidthInteger>(_ offset: Int, as: T.Type) -> T {
                fx.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: T.self) }
            }
            mutating func setFX<T: FixedWidthInteger>(_ offset: Int, _ value: T) {
                fx.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: T.self) }
            }
            var mxcsr: UInt32 {
                get { fx(24, as: UInt32.self) }
                set { setFX(24, newValue) }
            }
            /// Low and high quadword.
            func xmm(_ i: Int) -> (UInt64, UInt64) {
                (fx(160 + 16 * i, as: UInt64.self), fx(168 + 16 * i, as: UInt64.self))
            }
            mutating func setXMM(_ i: Int, _ low: UInt64, _ high: UInt64) {
                setFX(160 + 16 * i, low)
                setFX(168 + 16 * i, high)
            }
        }

        private let code: UnsafeMutableRawPointer
        private let block: UnsafeMutableRawPointer
        /// A page that instructions may use; put its address into a register.
        let scratch: UnsafeMutableRawPointer
        private static let codeSize = 4096

        /// - Parameter scratchAddress: where `scratch` should lie, so that guest and host use one address; the host may give
        ///   another.
        init(scratchAddress: UInt = 0) {
            func page(_ address: UInt = 0) -> UnsafeMutableRawPointer {
                let wanted = UnsafeMutableRawPointer(bitPattern: address)
                return mmap(wanted, Self.codeSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
            }
            code = page()
            block = page()
            scratch = page(scratchAddress)
        }

        deinit {
            for page in [code, block, scratch] { munmap(page, Self.codeSize) }
        }

        /// Makes `bytes` what `run` runs.
        func load(_ bytes: [UInt8]) {
            let all = Self.prologue + bytes + Self.epilogue
            precondition(all.count <= Self.codeSize)
            mprotect(code, Self.codeSize, PROT_READ | PROT_WRITE)
            all.withUnsafeBytes { code.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            mprotect(code, Self.codeSize, PROT_READ | PROT_EXEC)
        }

        func run(_ state: State) -> State {
            for i in 0..<16 { block.storeBytes(of: state.gpr[i], toByteOffset: 8 * i, as: UInt64.self) }
            block.storeBytes(of: state.flags | 2, toByteOffset: Int(Offset.flags), as: UInt64.self)
            (block + Int(Offset.fx)).copyMemory(from: state.fx, byteCount: 512)
            typealias Function = @convention(c) (UnsafeMutableRawPointer) -> Void
            // SAFETY: the page holds a complete function of this signature.
            unsafeBitCast(code, to: Function.self)(block)
            var after = state
            for i in 0..<16 where i != 4 { after.gpr[i] = block.load(fromByteOffset: 8 * i, as: UInt64.self) }
            after.flags = block.load(fromByteOffset: Int(Offset.flags), as: UInt64.self)
            after.fx.withUnsafeMutableBytes {
                $0.copyMemory(from: UnsafeRawBufferPointer(start: block + Int(Offset.fx), count: 512))
            }
            return after
        }

        func run(_ bytes: [UInt8], _ state: State) -> State {
            load(bytes)
            return run(state)
        }

        // MARK: Code around the bytes; RDI is the state block

        private static func bytes(_ value: Int32) -> [UInt8] {
            (0..<4).map { UInt8(truncatingIfNeeded: value >> Int32(8 * $0)) }
        }
        /// MOV between a register and its slot.
        private static func move(_ register: Int, load: Bool) -> [UInt8] {
            [register < 8 ? 0x48 : 0x4C, load ? 0x8B : 0x89, UInt8(0x87 | (register & 7) << 3)]
                + bytes(Int32(8 * register))
        }
        private static let fxsave: [UInt8] = [0x48, 0x0F, 0xAE, 0x87]
        private static let fxrstor: [UInt8] = [0x48, 0x0F, 0xAE, 0x8F]

        private static let prologue: [UInt8] = {
            // push rbx, rbp, r12–r15, rdi
            var c: [UInt8] = [0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x57]
            c += fxsave + bytes(Offset.hostFX) + fxrstor + bytes(Offset.fx)
            // push [rdi+flags]; popfq
            c += [0xFF, 0xB7] + bytes(Offset.flags) + [0x9D]
            for register in 0..<16 where register != 4 && register != 7 { c += move(register, load: true) }
            return c + move(7, load: true)
        }()

        private static let epilogue: [UInt8] = {
            // xchg [rsp], rdi
            var c: [UInt8] = [0x48, 0x87, 0x3C, 0x24]
            for register in 0..<16 where register != 4 && register != 7 { c += move(register, load: false) }
            // pushfq; pop rax; mov [rdi+flags], rax; pop rax; mov [rdi+56], rax
            c += [0x9C, 0x58, 0x48, 0x89, 0x87] + bytes(Offset.flags) + [0x58] + [0x48, 0x89, 0x87] + bytes(56)
            c += fxsave + bytes(Offset.fx) + fxrstor + bytes(Offset.hostFX)
            // push 0x202; popfq; pop r15–r12, rbp, rbx; ret
            c += [0x68, 0x02, 0x02, 0, 0, 0x9D]
            return c + [0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3]
        }()
    }
#endif
