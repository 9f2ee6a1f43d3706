import Glibc

/// Guest physical address space: which host memory or device answers at each page.
///
/// RAM below 640 KiB and from 1 MiB to its end is the fast case. Everything else is a list of regions (ROM,
/// shadowed ROM, VGA memory, PCI memory BARs, APICs), later ones in front of earlier ones. The CPU asks once per
/// TLB miss; DMA goes through `read` and `write`, which check every range.
final class PhysicalMap {
    static let pageSize: UInt64 = 4096
    /// PCI hole: RAM beyond this continues at 4 GiB, as on QEMU's `pc`.
    static let lowRAMLimit: UInt64 = 0xE000_0000
    static let highRAMBase: UInt64 = 0x1_0000_0000

    /// What answers in a region.
    enum Backing {
        /// Host memory, readable and executable; `writable` says whether stores reach it or are dropped (ROM).
        case memory(UnsafeMutableRawPointer, writable: Bool)
        /// Reads come from one place, writes go to another (PAM shadowing). Nil target: reads as 0, writes dropped.
        case split(read: UnsafeMutableRawPointer?, write: UnsafeMutableRawPointer?)
        case device(any MMIODevice)
    }

    struct Region {
        let base: UInt64
        let length: UInt64
        let backing: Backing
        let name: String
        fileprivate let id: Int
        func contains(_ address: UInt64) -> Bool { address &- base < length }
    }

    private struct PlainRange {
        var base: UInt64
        var length: UInt64
        var host: UnsafeMutableRawPointer
    }

    /// Who must know when mappings or code change: each CPU.
    struct Observer {
        /// A mapping changed: TLBs and decoded blocks are void.
        var layoutChanged: () -> Void = {}
        /// Bytes of a page that holds decoded code were written (physical address, length).
        var codeWritten: (UInt64, UInt64) -> Void = { _, _ in }
    }

    /// Identifies a region for `unmap`.
    struct RegionID: Equatable { fileprivate let id: Int }

    /// What the CPU's TLB needs to know about one physical page.
    struct PageTarget {
        /// Host address of the page's first byte for loads and fetches; nil: go through `device` or read 0.
        var read: UnsafeMutableRawPointer?
        /// The same for stores; nil: go through `device` or drop.
        var write: UnsafeMutableRawPointer?
        var device: (any MMIODevice)?
        /// Offset of the page inside the device's region.
        var deviceOffset: UInt64 = 0
    }

    let ram: GuestRAM
    let ramSizeBytes: UInt64
    let lowRAMBytes: UInt64
    /// Where A20 is masked off, address bit 20 is forced to 0 (8042 output port, port 92h).
    var a20Mask: UInt64 = ~0 { didSet { if a20Mask != oldValue { layoutChanged() } } }
    private var regions: [Region] = []
    /// RAM that no region covers, as guest range and host address, and the largest of these ranges: the answer to nearly
    /// every TLB miss.
    private var plainRanges: [PlainRange] = []
    private var largest: PlainRange
    private var nextID = 1

    /// Which pages hold decoded code: what is written there is announced to the observers.
    let codePages: CodePages
    private var observers: [Observer] = []

    func addObserver(_ observer: Observer) { observers.append(observer) }

    private func layoutChanged() { for observer in observers { observer.layoutChanged() } }

    /// Tells the observers of a write into RAM if decoded code may lie there.
    func announceWrite(_ physical: UInt64, _ length: UInt64) {
        var page = physical & ~0xFFF
        while page < physical &+ length {
            if codePages.hasCode(page) {
                for observer in observers { observer.codeWritten(physical, length) }
                return
            }
            page += 4096
        }
    }

    /// - Parameter ramSizeBytes: rounded up to whole pages.
    init(ramSizeBytes: UInt64) throws(MachineError) {
        let rounded = (ramSizeBytes + Self.pageSize - 1) & ~(Self.pageSize - 1)
        ram = try GuestRAM(sizeBytes: rounded)
        self.ramSizeBytes = rounded
        lowRAMBytes = min(rounded, Self.lowRAMLimit)
        codePages = try CodePages(limit: Self.highRAMBase + rounded - min(rounded, Self.lowRAMLimit))
        largest = PlainRange(base: 0, length: 0, host: ram.base)
        findPlainRAM()
    }

    /// Cuts the regions out of the two ranges of RAM.
    private func findPlainRAM() {
        plainRanges = []
        let ranges = [(0, lowRAMBytes), (Self.highRAMBase, Self.highRAMBase + ramSizeBytes - lowRAMBytes)]
        for (start, end) in ranges {
            var at = start
            for region in regions.sorted(by: { $0.base < $1.base }) where region.base < end {
                if region.base > at { appendPlainRange(at, region.base) }
                at = max(at, region.base + region.length)
            }
            if at < end { appendPlainRange(at, end) }
        }
        largest.length = 0
        for range in plainRanges where range.length > largest.length { largest = range }
    }

    /// Host address of a byte of RAM that nothing lies in front of, A20 applied; nil: ask `target`.
    @inline(__always) func plainRAM(_ address: UInt64) -> UnsafeMutableRawPointer? {
        let offset = (address & a20Mask) &- largest.base
        return offset < largest.length ? largest.host + Int(truncatingIfNeeded: offset) : nil
    }

    private func appendPlainRange(_ start: UInt64, _ end: UInt64) {
        guard let host = ramPointer(start) else { return }
        plainRanges.append(PlainRange(base: start, length: end - start, host: host))
    }

    // MARK: Layout

    @discardableResult
    func map(_ name: String, at base: UInt64, length: UInt64, _ backing: Backing) -> RegionID {
        let region = Region(base: base, length: length, backing: backing, name: name, id: nextID)
        nextID += 1
        regions.append(region)
        findPlainRAM()
        layoutChanged()
        return RegionID(id: region.id)
    }

    /// Changes what answers in a region without moving it (PAM attributes).
    func replace(_ id: RegionID, with backing: Backing) {
        guard let index = regions.firstIndex(where: { $0.id == id.id }) else { return }
        let old = regions[index]
        regions[index] = Region(base: old.base, length: old.length, backing: backing, name: old.name, id: old.id)
        layoutChanged()
    }

    func unmap(_ id: RegionID) {
        regions.removeAll { $0.id == id.id }
        findPlainRAM()
        layoutChanged()
    }

    /// Host address of RAM at a physical address, ignoring regions laid over it; nil outside RAM.
    func ramPointer(_ address: UInt64) -> UnsafeMutableRawPointer? {
        if address < lowRAMBytes { return ram.base + Int(address) }
        if address >= Self.highRAMBase, address - Self.highRAMBase < ramSizeBytes - lowRAMBytes {
            return ram.base + Int(address - Self.highRAMBase + lowRAMBytes)
        }
        return nil
    }

    /// Looks up the page at `address` (any byte of it; A20 is applied here).
    func target(ofPageAt address: UInt64) -> PageTarget {
        let page = address & ~(Self.pageSize - 1) & a20Mask
        for range in plainRanges where page &- range.base < range.length {
            let host = range.host + Int(page - range.base)
            return PageTarget(read: host, write: host)
        }
        if let region = regions.last(where: { $0.contains(page) }) {
            let offset = page - region.base
            switch region.backing {
            case .memory(let pointer, let writable):
                let host = pointer + Int(offset)
                return PageTarget(read: host, write: writable ? host : nil)
            case .split(let read, let write):
                return PageTarget(read: read.map { $0 + Int(offset) }, write: write.map { $0 + Int(offset) })
            case .device(let device):
                return PageTarget(device: device, deviceOffset: offset)
            }
        }
        let host = ramPointer(page)
        return PageTarget(read: host, write: host)
    }

    // MARK: Single accesses (uncached; `size` is 1, 2, 4 or 8 and must not cross a page)

    func read(_ address: UInt64, size: Int) -> UInt64 {
        if let host = plainRAM(address) { return Self.load(host, size: size) }
        return read(target(ofPageAt: address), inPage: address & (Self.pageSize - 1), size: size)
    }

    /// The same where the target is known.
    func read(_ target: PageTarget, inPage: UInt64, size: Int) -> UInt64 {
        if let host = target.read { return Self.load(host + Int(inPage), size: size) }
        if let device = target.device {
            return device.mmioRead(target.deviceOffset + inPage, size: size).clipped(toBytes: size)
        }
        // Nobody answers: 0, as on QEMU's PC.
        return 0
    }

    func write(_ address: UInt64, size: Int, value: UInt64) {
        if let host = plainRAM(address) {
            Self.store(host, value, size: size)
            announceWrite(address & a20Mask, UInt64(size))
            return
        }
        write(target(ofPageAt: address), address & a20Mask, size: size, value: value)
    }

    func write(_ target: PageTarget, _ physical: UInt64, size: Int, value: UInt64) {
        let inPage = physical & (Self.pageSize - 1)
        if let host = target.write {
            Self.store(host + Int(inPage), value, size: size)
            announceWrite(physical, UInt64(size))
        } else if let device = target.device {
            device.mmioWrite(target.deviceOffset + inPage, size: size, value: value)
        }
    }

    /// 1, 2, 4 or 8 bytes of host memory.
    @inline(__always) static func load(_ at: UnsafeMutableRawPointer, size: Int) -> UInt64 {
        // SAFETY: the caller found the place in a page of guest memory that holds `size` bytes from there.
        switch size {
        case 1: UInt64(at.load(as: UInt8.self))
        case 2: UInt64(at.loadUnaligned(as: UInt16.self))
        case 4: UInt64(at.loadUnaligned(as: UInt32.self))
        default: at.loadUnaligned(as: UInt64.self)
        }
    }

    @inline(__always) static func store(_ at: UnsafeMutableRawPointer, _ value: UInt64, size: Int) {
        // SAFETY: as in `load`.
        switch size {
        case 1: at.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
        case 2: at.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
        case 4: at.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
        default: at.storeBytes(of: value, as: UInt64.self)
        }
    }

    // MARK: DMA

    /// Copies guest memory into `buffer`; what is not memory reads as 0.
    func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) {
        forEachPage(address, buffer.count) { target, inPage, done, count in
            guard let to = buffer.baseAddress else { return }
            // SAFETY: count stays inside both the page and the buffer.
            if let host = target.read {
                memcpy(to + done, host + inPage, count)
            } else {
                memset(to + done, 0, count)
            }
        }
    }

    /// Copies `buffer` into guest memory; what is not writable memory is dropped.
    func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) {
        forEachPage(address, buffer.count) { target, inPage, done, count in
            guard let from = buffer.baseAddress, let host = target.write else { return }
            // SAFETY: count stays inside both the page and the buffer.
            memcpy(host + inPage, from + done, count)
            announceWrite((address &+ UInt64(done)) & a20Mask, UInt64(count))
        }
    }

    private func forEachPage(_ address: UInt64, _ length: Int, _ body: (PageTarget, Int, Int, Int) -> Void) {
        var done = 0
        while done < length {
            let at = address &+ UInt64(done)
            let inPage = Int(at & (Self.pageSize - 1))
            let count = min(length - done, Int(Self.pageSize) - inPage)
            body(target(ofPageAt: at), inPage, done, count)
            done += count
        }
    }
}
