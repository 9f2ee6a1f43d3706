/// The VGA's display memory as the CPU sees it through A0000h–BFFFFh: four planes behind the graphics controller
/// (IBM VGA Technical Reference, "Graphics Controller").
///
/// Planes are interleaved: cell `n` is four consecutive bytes, one per plane, so that chained modes and the linear
/// frame buffer show the same bytes in the same order.
///
/// | mode | chosen by | CPU address a reaches |
/// | --- | --- | --- |
/// | chain-4 | sequencer 4 bit 3 | plane a & 3 of cell a / 4 |
/// | odd/even | sequencer 4 bit 2 clear | planes 0 and 2, or 1 and 3, of cell a / 2 |
/// | planar | otherwise | all planes of cell a |
final class VGAMemory: MMIODevice {
    private enum Addressing { case chain4, oddEven, planar }

    private let bytes: UnsafeMutablePointer<UInt8>
    private let byteMask: Int
    private var latch: UInt32 = 0

    // What the registers mean, worked out once per register write.
    private var windowStart = 0
    private var windowLength = 0
    private var bankOffset = 0
    private var readAddressing = Addressing.planar
    private var writeAddressing = Addressing.planar
    private var writeMode: UInt8 = 0
    private var comparesColours = false
    private var readPlane = 0
    private var rotation: UInt8 = 0
    private var function: UInt8 = 0
    private var bitMask: UInt8 = 0xFF
    private var setReset: UInt32 = 0
    private var enableSetReset: UInt32 = 0
    private var planeMask: UInt32 = 0
    private var compareColour: UInt32 = 0
    private var compareCare: UInt32 = 0
    /// Bytes pass unchanged: write mode 0 with every modifier off.
    private var isPlain = false

    /// - Parameter sizeBytes: a power of two.
    init(bytes: UnsafeMutablePointer<UInt8>, sizeBytes: Int) {
        self.bytes = bytes
        byteMask = sizeBytes - 1
    }

    func reset() { latch = 0 }

    /// The rest follows from the registers.
    func exchange(_ c: StateCoder) { c.field("latch", &latch) }

    /// Takes over what the registers say now.
    func update(sequencer: [UInt8], graphics: [UInt8], miscellaneous: UInt8, bank: Int) {
        let windows: [(start: Int, length: Int)] = [
            (0, 0x20000), (0, 0x10000), (0x10000, 0x8000), (0x18000, 0x8000),
        ]
        let map = Int(graphics[6] >> 2 & 3)
        windowStart = windows[map].start
        windowLength = miscellaneous & 2 != 0 ? windows[map].length : 0
        bankOffset = map == 1 ? bank << 16 : 0
        let isChained = sequencer[4] & 8 != 0
        writeAddressing = isChained ? .chain4 : sequencer[4] & 4 == 0 ? .oddEven : .planar
        readAddressing = isChained ? .chain4 : graphics[5] & 0x10 != 0 ? .oddEven : .planar
        writeMode = graphics[5] & 3
        comparesColours = graphics[5] & 8 != 0
        readPlane = Int(graphics[4] & 3)
        rotation = graphics[3] & 7
        function = graphics[3] >> 3 & 3
        bitMask = graphics[8]
        setReset = Self.spread(graphics[0])
        enableSetReset = Self.spread(graphics[1])
        planeMask = Self.spread(sequencer[2])
        compareColour = Self.spread(graphics[2])
        compareCare = Self.spread(graphics[7])
        isPlain = writeMode == 0 && rotation == 0 && function == 0 && bitMask == 0xFF && enableSetReset == 0
    }

    func mmioRead(_ offset: UInt64, size: Int) -> UInt64 {
        var value: UInt64 = 0
        for i in 0..<size { value |= UInt64(readByte(Int(offset) + i)) << UInt64(8 * i) }
        return value
    }

    func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {
        for i in 0..<size { writeByte(Int(offset) + i, UInt8(truncatingIfNeeded: value >> UInt64(8 * i))) }
    }

    // MARK: One byte

    private func readByte(_ offset: Int) -> UInt8 {
        let inWindow = offset - windowStart
        guard inWindow >= 0, inWindow < windowLength else { return 0xFF }
        let address = inWindow + bankOffset
        switch readAddressing {
        case .chain4:
            loadLatch(cell: address >> 2)
            return bytes[address & byteMask]
        case .oddEven:
            loadLatch(cell: address >> 1)
            return bytes[((address >> 1) * 4 | readPlane & 2 | address & 1) & byteMask]
        case .planar:
            loadLatch(cell: address)
            guard comparesColours else { return UInt8(truncatingIfNeeded: latch >> UInt32(8 * readPlane)) }
            var differs = (latch ^ compareColour) & compareCare
            differs |= differs >> 16
            differs |= differs >> 8
            return ~UInt8(truncatingIfNeeded: differs)
        }
    }

    private func writeByte(_ offset: Int, _ value: UInt8) {
        let inWindow = offset - windowStart
        guard inWindow >= 0, inWindow < windowLength else { return }
        let address = inWindow + bankOffset
        let cell: Int
        var planes = planeMask
        switch writeAddressing {
        case .chain4:
            cell = address >> 2
            planes &= 0xFF << UInt32(8 * (address & 3))
        case .oddEven:
            cell = address >> 1
            planes &= address & 1 == 0 ? 0x00FF_00FF : 0xFF00_FF00
        case .planar: cell = address
        }
        let data = isPlain ? UInt32(value) &* 0x0101_0101 : combine(value)
        let at = cell << 2 & byteMask
        // SAFETY: a cell's four bytes lie inside the memory: `at` is a multiple of four below its size.
        let pointer = UnsafeMutableRawPointer(bytes + at)
        let old = pointer.load(as: UInt32.self)
        pointer.storeBytes(of: old & ~planes | data & planes, as: UInt32.self)
    }

    /// What the four write modes make of a byte from the CPU and the latches.
    private func combine(_ value: UInt8) -> UInt32 {
        let rotated = value >> rotation | value << ((8 - rotation) & 7)
        var data: UInt32
        var mask = bitMask
        switch writeMode {
        case 0:
            let repeated = UInt32(rotation == 0 ? value : rotated) &* 0x0101_0101
            data = repeated & ~enableSetReset | setReset & enableSetReset
        case 1: return latch
        case 2: data = Self.spread(value)
        default:
            mask &= rotation == 0 ? value : rotated
            data = setReset
        }
        switch function {
        case 1: data &= latch
        case 2: data |= latch
        case 3: data ^= latch
        default: break
        }
        let mask32 = UInt32(mask) &* 0x0101_0101
        return data & mask32 | latch & ~mask32
    }

    private func loadLatch(cell: Int) {
        // SAFETY: as in `writeByte`.
        latch = UnsafeRawPointer(bytes + (cell << 2 & byteMask)).load(as: UInt32.self)
    }

    /// Four bits, one per plane, to four bytes of ones or zeros.
    static func spread(_ planes: UInt8) -> UInt32 {
        var value: UInt32 = 0
        for plane in 0..<4 where planes >> UInt8(plane) & 1 != 0 { value |= 0xFF << UInt32(8 * plane) }
        return value
    }
}
