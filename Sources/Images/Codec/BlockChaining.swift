/// Sectors through any block cipher: ECB, CBC and CTR (NIST SP 800-38A) and XTS (IEEE 1619).
///
/// Some sectors go together, and as many of their blocks as do not wait for each other go through the cipher at once: all,
/// or where CBC encrypts, one block of each sector.
struct BlockChaining {
    private static let sectorBytes = 512
    /// Sectors that go together.
    private static let group = 16

    private let chaining: SectorCipher.Chaining
    private let data: any BlockCipher
    /// XTS encrypts its vectors with the second half of the key.
    private let mask: (any BlockCipher)?

    init(_ algorithm: CipherAlgorithm, key: [UInt8], chaining: SectorCipher.Chaining) throws(ImageError) {
        self.chaining = chaining
        guard chaining == .xts else {
            data = try algorithm.keyed(key)
            mask = nil
            return
        }
        data = try algorithm.keyed(Array(key[..<(key.count / 2)]))
        mask = try algorithm.keyed(Array(key[(key.count / 2)...]))
    }

    /// Transforms whole sectors from `input` to `output`, which may be the same memory.
    func transform(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, vectors: SectorVectors,
        firstSector: UInt64, encrypt: Bool
    ) throws(ImageError) {
        let scratch = HeapBuffer(Self.group * Self.sectorBytes, zeroed: false)
        let starts = HeapBuffer(Self.group * data.blockBytes, zeroed: false)
        for first in stride(from: 0, to: input.count / Self.sectorBytes, by: Self.group) {
            let place = first * Self.sectorBytes
            let length = min(Self.group * Self.sectorBytes, input.count - place)
            let (source, target) = (input.part(place, length), output.part(place, length))
            let work = scratch.bytes.part(0, length)
            let start = starts.bytes.part(0, length / Self.sectorBytes * data.blockBytes)
            if chaining != .ecb { try vectors.fill(start, first: firstSector + UInt64(first)) }
            switch chaining {
            case .ecb:
                target.copyMemory(from: source)
                try encrypt ? data.encrypt(target) : data.decrypt(target)
            case .ctr:
                count(from: start, into: work)
                try data.encrypt(work)
                combine(source, UnsafeRawBufferPointer(work), into: target)
            case .xts:
                try mask?.encrypt(start)
                multiply(start, into: work)
                combine(source, UnsafeRawBufferPointer(work), into: target)
                try encrypt ? data.encrypt(target) : data.decrypt(target)
                combine(UnsafeRawBufferPointer(target), UnsafeRawBufferPointer(work), into: target)
            case .cbc where encrypt: try chain(source, start, work, into: target)
            case .cbc:
                work.copyMemory(from: source)
                try data.decrypt(work)
                unchain(source, start, UnsafeRawBufferPointer(work), into: target)
            }
        }
    }

    /// `target` = `left` xor `right`, all equally long multiples of 8.
    private func combine(
        _ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) {
        guard let left = left.baseAddress, let right = right.baseAddress, let base = target.baseAddress else { return }
        for offset in stride(from: 0, to: target.count, by: 8) {
            base.putLE64(left.le64(offset) ^ right.le64(offset), offset)
        }
    }

    /// The counters of each sector: its vector, plus one for each block, most significant byte first.
    private func count(from starts: UnsafeMutableRawBufferPointer, into work: UnsafeMutableRawBufferPointer) {
        guard let start = starts.baseAddress, let work = work.baseAddress else { return }
        let block = data.blockBytes
        for sector in 0..<starts.count / block {
            var (high, low) = (start.be64(sector * block), block == 16 ? start.be64(sector * block + 8) : 0)
            for offset in stride(from: sector * Self.sectorBytes, to: (sector + 1) * Self.sectorBytes, by: block) {
                work.putBE64(high, offset)
                if block == 16 { work.putBE64(low, offset + 8) }
                low &+= 1
                if block == 8 || low == 0 { high &+= 1 }
            }
        }
    }

    /// The masks of each sector: its encrypted vector times alpha to the number of the block, least significant byte
    /// first.
    private func multiply(_ starts: UnsafeMutableRawBufferPointer, into work: UnsafeMutableRawBufferPointer) {
        guard let start = starts.baseAddress, let work = work.baseAddress else { return }
        for sector in 0..<starts.count / 16 {
            var (low, high) = (start.le64(sector * 16), start.le64(sector * 16 + 8))
            for offset in stride(from: sector * Self.sectorBytes, to: (sector + 1) * Self.sectorBytes, by: 16) {
                work.putLE64(low, offset)
                work.putLE64(high, offset + 8)
                let carry = high &>> 63
                high = high &<< 1 | low &>> 63
                low = low &<< 1 ^ carry &* 0x87
            }
        }
    }

    /// CBC encryption: block n of all sectors, then block n + 1. `last` is what the next block of each is xored with.
    private func chain(
        _ source: UnsafeRawBufferPointer, _ last: UnsafeMutableRawBufferPointer,
        _ work: UnsafeMutableRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) throws(ImageError) {
        let block = data.blockBytes
        for offset in stride(from: 0, to: Self.sectorBytes, by: block) {
            for sector in 0..<source.count / Self.sectorBytes {
                let mine = last.part(sector * block, block)
                let plain = source.part(sector * Self.sectorBytes + offset, block)
                combine(UnsafeRawBufferPointer(mine), plain, into: mine)
            }
            try data.encrypt(last)
            for sector in 0..<source.count / Self.sectorBytes {
                target.part(sector * Self.sectorBytes + offset, block)
                    .copyMemory(from: UnsafeRawBufferPointer(last.part(sector * block, block)))
            }
        }
    }

    /// CBC decryption of deciphered blocks: each is xored with the ciphertext before it. From the end, because `target`
    /// may be `source`.
    private func unchain(
        _ source: UnsafeRawBufferPointer, _ starts: UnsafeMutableRawBufferPointer, _ work: UnsafeRawBufferPointer,
        into target: UnsafeMutableRawBufferPointer
    ) {
        let block = data.blockBytes
        guard let source = source.baseAddress, let start = starts.baseAddress, let deciphered = work.baseAddress,
            let base = target.baseAddress
        else { return }
        for sector in 0..<target.count / Self.sectorBytes {
            let place = sector * Self.sectorBytes
            for offset in stride(from: place + Self.sectorBytes - 8, through: place + block, by: -8) {
                base.putLE64(deciphered.le64(offset) ^ source.le64(offset - block), offset)
            }
            for offset in stride(from: 0, to: block, by: 8) {
                base.putLE64(deciphered.le64(place + offset) ^ start.le64(sector * block + offset), place + offset)
            }
        }
    }
}
