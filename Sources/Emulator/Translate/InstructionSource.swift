/// Blocks and instruction bytes of the page that a region is made of.
struct InstructionSource {
    private let cpu: CPU
    private let mode: UInt32
    private let physicalPage: UInt64
    private let page: UnsafeMutableRawPointer?
    /// The page in which a crossing instruction ends.
    private let second: UnsafeMutableRawPointer?

    init(_ cpu: CPU, _ block: UnsafeMutablePointer<Block>) {
        self.cpu = cpu
        mode = block.pointee.mode
        physicalPage = block.pointee.physical & ~0xFFF
        page = cpu.memory.target(ofPageAt: physicalPage).read
        second = block.pointee.crossesPage ? cpu.memory.target(ofPageAt: block.pointee.secondPage).read : nil
    }

    /// The block at a linear address of the page, decoded if need be; nil: no whole instruction is there.
    func block(at linear: UInt64) -> UnsafeMutablePointer<Block>? {
        let physical = physicalPage | linear & 0xFFF
        if let found = cpu.blocks.find(physical, mode: mode) { return found }
        guard let page, let block = cpu.blocks.reserve(CPU.maxInstructions + 1),
            cpu.decode(block, at: linear, physical, page, mode)
        else { return nil }
        cpu.blocks.commit(block)
        return block
    }

    func bytes(of block: UnsafeMutablePointer<Block>, offset: Int, length: Int) -> InlineArray<16, UInt8> {
        var bytes = InlineArray<16, UInt8>(repeating: 0)
        let start = Int(block.pointee.physical & 0xFFF) + offset
        for i in 0..<min(length, 16) {
            let at = start + i
            // SAFETY: both pages are 4096 bytes of guest memory.
            if at < 4096 {
                bytes[i] = page?.load(fromByteOffset: at, as: UInt8.self) ?? 0
            } else {
                bytes[i] = second?.load(fromByteOffset: at - 4096, as: UInt8.self) ?? 0
            }
        }
        return bytes
    }
}
