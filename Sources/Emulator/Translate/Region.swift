/// A basic block of a region while it is translated.
final class RegionBlock {
    let linear: UInt64
    let block: UnsafeMutablePointer<Block>
    let instructions: [TranslatedInstruction]
    /// Linear addresses to which control may go inside the region's page.
    var successors: [UInt64] = []
    /// Its number in the order of writing.
    var number = 0
    /// A way leads from its end back to it, as far as the order shows.
    var isInLoop = false
    /// Those at which flags may be read that the block leaves: its successors, or the target of a call.
    var readers: [UInt64] = []
    /// Flags that somebody may read at each instruction; the last: behind the block.
    var live: [FlagMask]
    var liveIn = FlagMask()
    /// Which accesses share one TLB check.
    var accesses: [AccessPlan]
    /// Where code begins: 0 until it is written.
    var body: UInt64 = 0
    var entry: UInt64 = 0
    /// Where the entry leads when its code is no longer good: to whatever code the address has then.
    var dead: UInt64 = 0
    /// Stubs that make XMM registers or the x87 live: where they begin, and the jump with which they come back.
    struct Load {
        var start: UInt64 = 0
        var back: UInt64 = 0
    }
    var xmmLoad = Load()
    var x87Load = Load()
    /// Leaves with `rip` at the block, which the budget did not suffice for.
    var exhausted: UInt64 = 0

    init(_ linear: UInt64, _ block: UnsafeMutablePointer<Block>, _ instructions: [TranslatedInstruction], is64: Bool) {
        self.linear = linear
        self.block = block
        self.instructions = instructions
        live = [FlagMask](repeating: .all, count: instructions.count + 1)
        accesses = AccessGroups.plan(instructions, is64: is64)
    }

    var end: UInt64 { linear &+ UInt64(block.pointee.byteLength) }
    var count: Int32 { Int32(instructions.count) }
}

/// The unit of translation: basic blocks of one page that are reached from a hot one by direct jumps, both ways of conditional ones and
/// the places behind calls. Inside, registers and flags stay where they are.
struct Region {
    /// Enough for loops and their surroundings; longer regions gained nothing (docs/decisions/0303-translator.md).
    static let instructionLimit = 300

    let mode: UInt32
    /// Linear address of the page.
    let page: UInt64
    private(set) var blocks: [UInt64: RegionBlock] = [:]
    /// In the order in which they are written: fall-through first.
    private(set) var order: [RegionBlock] = []
    /// Blocks of the page that have code already and are jumped to: what flags that code may read.
    private var neighbours: [UInt64: FlagMask] = [:]
    /// The lines of the page in which those answers lie.
    private(set) var neighbourLines: UInt32 = 0
    private(set) var usesXMM = false
    private(set) var usesX87 = false

    var is64: Bool { mode & ModeKey.code64 != 0 }
    var isUser: Bool { mode & ModeKey.user != 0 }
    var isRelocatable: Bool { Relocation.isRelocatable(page, mode) }

    /// - Parameters:
    ///   - first: the hot block, at `linear`.
    ///   - decode: the block at a linear address of the same page; nil: none there, or it goes on in another page.
    ///   - bytes: the instruction bytes of a block at an offset and of a length.
    ///   - features: what the guest's processor offers.
    init(
        _ first: UnsafeMutablePointer<Block>, at linear: UInt64, features: CPUFeatureSet,
        decode: (UInt64) -> UnsafeMutablePointer<Block>?,
        bytes: (UnsafeMutablePointer<Block>, Int, Int) -> InlineArray<16, UInt8>
    ) {
        mode = first.pointee.mode
        page = linear & ~0xFFF
        collect(first, linear, features, decode, bytes)
        findLiveFlags()
        findLoops()
        for block in order {
            for instruction in block.instructions {
                usesXMM = usesXMM || instruction.usesXMM
                usesX87 = usesX87 || instruction.usesX87
            }
        }
    }

    private mutating func collect(
        _ first: UnsafeMutablePointer<Block>, _ linear: UInt64, _ features: CPUFeatureSet,
        _ decode: (UInt64) -> UnsafeMutablePointer<Block>?,
        _ bytes: (UnsafeMutablePointer<Block>, Int, Int) -> InlineArray<16, UInt8>
    ) {
        var waiting: [(UInt64, UnsafeMutablePointer<Block>?)] = [(linear, first)]
        var count = 0
        while let (address, known) = waiting.popLast() {
            if blocks[address] != nil || address & ~0xFFF != page || count >= Self.instructionLimit { continue }
            guard let block = known ?? decode(address) else { continue }
            // Where it goes on may be another page each time.
            if block != first, block.pointee.crossesPage { continue }
            // What has code already is linked to.
            if block != first, block.pointee.entry != nil,
                block.pointee.entryLinear == Relocation.place(address, mode)
            {
                neighbours[address] = block.pointee.entryFlags
                neighbourLines |= block.pointee.entryLines
                continue
            }
            let instructions = (0..<Int(block.pointee.count)).map { i in
                let place = UnsafePointer(block.ops + i)
                let text = bytes(block, Int(place.pointee.offset), Int(place.pointee.length))
                var instruction = TranslatedInstruction(place, bytes: text, mode: mode, features: features)
                instruction.checkTarget(from: address)
                return instruction
            }
            let node = RegionBlock(address, block, instructions, is64: is64)
            blocks[address] = node
            node.number = order.count
            order.append(node)
            count += instructions.count
            guard !block.pointee.crossesPage, let last = instructions.last else { continue }
            node.successors = Self.successors(last, node, is64: is64)
            node.readers = last.isDirectCall ? [last.target(from: node.linear, is64: is64)] : node.successors
            if last.op.isCall { waiting.append((node.end, nil)) }
            for successor in node.successors { waiting.append((successor, nil)) }
        }
    }

    /// Where control can go from a block's last instruction, as far as it is known; the last is fallen through to.
    private static func successors(_ last: TranslatedInstruction, _ node: RegionBlock, is64: Bool) -> [UInt64] {
        let mask: UInt64 = is64 ? ~0 : 0xFFFF_FFFF
        let target = last.target(from: node.linear, is64: is64)
        switch last.kind {
        case .branch:
            if !last.isNativeBranch { return [] }
            if last.op.isConditionalJump { return [target, node.end & mask] }
            return last.op.code == .jmpRelative ? [target] : []
        case .helper:
            let endsBlock = last.row?.pointee.attributes.contains(.endsBlock) ?? true
            return endsBlock || last.op.code == .undefined ? [] : [node.end & mask]
        default: return [node.end & mask]
        }
    }

    /// Everything between a jump backwards and where it leads.
    private func findLoops() {
        for last in order {
            for successor in last.successors {
                guard let first = blocks[successor], first.number <= last.number else { continue }
                for number in first.number...last.number { order[number].isInLoop = true }
            }
        }
    }

    /// Flags that may be read at an address: all where that is not known.
    func liveFlags(at linear: UInt64) -> FlagMask { blocks[linear]?.liveIn ?? neighbours[linear] ?? .all }

    /// Backwards to a fixed point; a successor outside of the region may read all flags.
    private mutating func findLiveFlags() {
        var changed = true
        while changed {
            changed = false
            for block in order.reversed() {
                var live = FlagMask()
                if block.readers.isEmpty { live = .all }
                for reader in block.readers { live.formUnion(liveFlags(at: reader)) }
                block.live[block.instructions.count] = live
                for i in stride(from: block.instructions.count - 1, through: 0, by: -1) {
                    live = live.subtracting(block.instructions[i].kills).union(block.instructions[i].reads)
                    block.live[i] = live
                }
                if live != block.liveIn {
                    block.liveIn = live
                    changed = true
                }
            }
        }
    }
}

extension TranslatedInstruction {
    /// A near call of a constant address, in line.
    var isDirectCall: Bool {
        isNativeBranch && (op.code == .callRelative64 || op.code == .callRelativeGeneral)
    }

    /// Where a relative branch or call at the end of a block leads.
    func target(from blockStart: UInt64, is64: Bool) -> UInt64 {
        (blockStart &+ UInt64(bitPattern: op.immediate)) & (is64 ? ~0 : 0xFFFF_FFFF)
    }
}

extension DecodedOp {
    var isCall: Bool {
        switch code {
        case .callRelative64, .callR64, .callM64, .callRelativeGeneral, .callIndirectGeneral: true
        default: false
        }
    }
}
