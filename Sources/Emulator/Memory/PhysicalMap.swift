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
        /// Reads come from one place, writes go to another (PAM shadowing). Nil target: reads as ones, writes dropped.
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
        let base: UInt64
        let length: UInt64
        let host: UnsafeMutableRawPointer
    }

    /// Identifies a region for `unmap`.
    struct RegionID: Equatable { fileprivate let id: Int }

    /// What the CPU's TLB needs to know about one physical page.
    struct PageTarget {
        /// Host address of the page's first byte for loads and fetches; nil: go through `device` or read ones.
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
    /// RAM that no region covers, as guest range and host address: the answer to nearly every TLB miss.
    private var plainRAM: [PlainRange] = []
    private var nextID = 1

    /// Called whenever a mapping changes: the CPU drops its TLBs and decoded blocks.
    var layoutChanged: () -> Void = {}
    /// Called after DMA or a device wrote RAM: the CPU drops decoded code of that range (physical address, length).
    var codeWritten: (UInt64, UInt64) -> Void = { _, _ in }

    /// - Parameter ramSizeBytes: rounded up to whole pages.
    init(ramSizeBytes: UInt64) throws(MachineError) {
        let rounded = (ramSizeBytes + Self.pageSize - 1) & ~(Self.pageSize - 1)
        ram = try GuestRAM(sizeBytes: rounded)
        self.ramSizeBytes = rounded
        lowRAMBytes = min(rounded, Self.lowRAMLimit)
        findPlainRAM()
    }

    /// Cuts the regions out of the two ranges of RAM.
    private func findPlainRAM() {
        plainRAM = []
        let ranges = [(0, lowRAMBytes), (Self.highRAMBase, Self.highRAMBase + ramSizeBytes - lowRAMBytes)]
        for (start, end) in ranges {
            var at = start
            for region in regions.sorted(by: { $0.base < $1.base }) where region.base < end {
                if region.base > at { appendPlainRange(at, region.base) }
                at = max(at, region.base + region.length)
            }
            if at < end { appendPlainRange(at, end) }
        }
    }

    private func appendPlainRange(_ start: UInt64, _ end: UInt64) {
        guard let host = ramPointer(start) else { return }
        plainRAM.append(PlainRange(base: start, length: end - start, host: host))
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
        for range in plainRAM where page &- range.base < range.length {
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
        let target = target(ofPageAt: address)
        let inPage = address & (Self.pageSize - 1)
        if let host = target.read {
            // SAFETY: the page is mapped and the access stays inside it by contract.
            let at = host + Int(inPage)
            switch size {
            case 1: return UInt64(at.load(as: UInt8.self))
            case 2: return UInt64(at.loadUnaligned(as: UInt16.self))
            case 4: return UInt64(at.loadUnaligned(as: UInt32.self))
            default: return at.loadUnaligned(as: UInt64.self)
            }
        }
        if let device = target.device {
            return device.mmioRead(target.deviceOffset + inPage, size: size).clipped(toBytes: size)
        }
        return UInt64.max.clipped(toBytes: size)
    }

    func write(_ address: UInt64, size: Int, value: UInt64) {
        let target = target(ofPageAt: address)
        let inPage = address & (Self.pageSize - 1)
        if let host = target.write {
            // SAFETY: as in `read`.
            let at = host + Int(inPage)
            switch size {
            case 1: at.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
            case 2: at.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
            case 4: at.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
            default: at.storeBytes(of: value, as: UInt64.self)
            }
            codeWritten(address & a20Mask, UInt64(size))
        } else if let device = target.device {
            device.mmioWrite(target.deviceOffset + inPage, size: size, value: value)
        }
    }

    // MARK: DMA

    /// Copies guest memory into `buffer`; what is not memory reads as ones.
    func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) {
        forEachPage(address, buffer.count) { target, inPage, done, count in
            guard let to = buffer.baseAddress else { return }
            // SAFETY: count stays inside both the page and the buffer.
            if let host = target.read {
                memcpy(to + done, host + inPage, count)
            } else {
                memset(to + done, 0xFF, count)
            }
        }
    }

    /// Copies `buffer` into guest memory; what is not writable memory is dropped.
    func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) {
        forEachPage(address, buffer.count) { target, inPage, done, count in
            guard let from = buffer.baseAddress, let host = target.write else { return }
            // SAFETY: count stays inside both the page and the buffer.
            memcpy(host + inPage, from + done, count)
            codeWritten((address &+ UInt64(done)) & a20Mask, UInt64(count))
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
