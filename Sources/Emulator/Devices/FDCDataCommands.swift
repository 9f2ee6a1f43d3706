/// The execution phase of the floppy controller: commands that move sectors, one sector at a time, by DMA or through the
/// FIFO.
extension FDC82077 {
    func beginTransfer(_ bytes: [UInt8]) {
        var job = FDCTransfer(bytes)
        let drive = drives[job.drive]
        if configuration & 0x40 != 0, job.command != .format { drive.step(to: job.cylinder) }
        lastSectorCount = job.lastSector
        if !isReadable(drive) {
            job.fail(FDCStatus.missingAddressMark)
        } else if job.isWrite, drive.disk?.isReadOnly ?? true {
            job.fail(FDCStatus.notWritable)
        } else if job.command != .format, job.cylinder != drive.track {
            job.fail(FDCStatus.noData, FDCStatus.wrongCylinder)
        }
        transfer = job
        later(Self.sectorNanoseconds, Step(action: job.hasFailed ? .endTransfer : .transfer))
    }

    /// One sector, or for FORMAT one sector's header.
    func transferStep() {
        guard let job = transfer else { return }
        phase = .executing
        if job.command == .format {
            if job.sectorsLeftToFormat == 0 { return endTransfer() }
            return usesDMA ? takeFromDMA(4) : requestFromHost(4)
        }
        guard job.size == 2, job.headMatches,
            let offset = drives[job.drive].offset(head: job.head, sector: Int(job.sector))
        else {
            transfer?.fail(FDCStatus.noData)
            return endTransfer()
        }
        if job.isWrite { return usesDMA ? takeFromDMA(512) : requestFromHost(512) }
        guard let data = readSector(drives[job.drive], offset) else { return endTransfer() }
        if job.command == .verify { return nextSector(terminated: false) }
        guard usesDMA else {
            fifo = data
            fifoAt = 0
            phase = .hostReads
            return interrupt()
        }
        let (moved, isEnd) = data.withUnsafeBytes { dma.deviceToMemory($0) }
        if moved < data.count, !isEnd {
            transfer?.fail(FDCStatus.overrun)
            return endTransfer()
        }
        nextSector(terminated: isEnd)
    }

    private func requestFromHost(_ count: Int) {
        fifo = []
        fifoAt = 0
        bytesExpected = count
        phase = .hostWrites
        interrupt()
    }

    private func takeFromDMA(_ count: Int) {
        var data = [UInt8](repeating: 0, count: count)
        let (moved, isEnd) = data.withUnsafeMutableBytes { dma.memoryToDevice($0) }
        if moved < count, !isEnd {
            transfer?.fail(FDCStatus.overrun)
            return endTransfer()
        }
        store(data, terminated: isEnd)
    }

    /// The host has moved a whole sector through the FIFO.
    func continueTransfer() {
        guard let job = transfer else { return endResult() }
        phase = .executing
        if job.isWrite { store(fifo, terminated: false) } else { nextSector(terminated: false) }
    }

    private func store(_ data: [UInt8], terminated: Bool) {
        guard let job = transfer else { return }
        if job.command == .format {
            if !data.isEmpty { fill(job, header: data) }
            transfer?.sectorsLeftToFormat -= 1
            if terminated { transfer?.sectorsLeftToFormat = 0 }
            return later(Self.commandNanoseconds, Step(action: .transfer))
        }
        let drive = drives[job.drive]
        guard let offset = drive.offset(head: job.head, sector: Int(job.sector)),
            writeSector(drive, offset, data)
        else { return endTransfer() }
        nextSector(terminated: terminated)
    }

    private func fill(_ job: FDCTransfer, header: [UInt8]) {
        let drive = drives[job.drive]
        guard let offset = drive.offset(head: job.head, sector: Int(header[2])) else {
            transfer?.fail(FDCStatus.noData)
            return
        }
        _ = writeSector(drive, offset, [UInt8](repeating: job.fillByte, count: 512))
    }

    private func nextSector(terminated: Bool) {
        guard var job = transfer else { return }
        let isOver = job.advance(terminated: terminated)
        transfer = job
        if isOver { return endTransfer() }
        later(Self.commandNanoseconds, Step(action: .transfer))
    }

    func endTransfer() {
        guard let job = transfer else { return endResult() }
        transfer = nil
        respond(job.result, interrupting: true)
    }

    private func readSector(_ drive: FloppyDrive, _ offset: UInt64) -> [UInt8]? {
        guard let disk = drive.disk else { return nil }
        let sector = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 16)
        defer { sector.deallocate() }
        do throws(DiskBackendError) { try disk.read(into: sector, at: offset) } catch {
            transfer?.fail(FDCStatus.dataError, FDCStatus.dataErrorInField)
            return nil
        }
        return Array(sector)
    }

    private func writeSector(_ drive: FloppyDrive, _ offset: UInt64, _ data: [UInt8]) -> Bool {
        guard let disk = drive.disk else { return false }
        // An image shorter than its format has no place for the last sectors.
        guard offset + 512 <= disk.sizeBytes else {
            transfer?.fail(FDCStatus.noData)
            return false
        }
        do {
            try data.withUnsafeBytes { bytes in
                try disk.write(from: UnsafeRawBufferPointer(rebasing: bytes[0..<512]), at: offset)
            }
        } catch {
            transfer?.fail(FDCStatus.dataError, FDCStatus.dataErrorInField)
            return false
        }
        return true
    }
}
