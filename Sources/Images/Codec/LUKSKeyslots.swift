/// The key slots of a LUKS header: opening, filling and erasing them.
extension LUKSHeader {
    /// The cipher of the payload, if one of the slots opens with the passphrase.
    func unlock(_ password: [UInt8], _ storage: any Storage, at offset: UInt64) throws(ImageError) -> SectorCipher {
        try cipher.keyed(try masterKey(password, storage, at: offset))
    }

    /// The master key, if one of the slots opens with the passphrase.
    func masterKey(_ password: [UInt8], _ storage: any Storage, at offset: UInt64) throws(ImageError) -> [UInt8] {
        for slot in activeSlots {
            if let key = try masterKey(inSlot: slot, password, storage, at: offset) { return key }
        }
        throw ImageError(.permission, "Invalid password, cannot unlock any keyslot", format: "luks", path: storage.path)
    }

    /// The master key, if that slot opens with the passphrase.
    private func masterKey(
        inSlot slot: Int, _ password: [UInt8], _ storage: any Storage, at offset: UInt64
    ) throws(ImageError) -> [UInt8]? {
        let slotKey = LUKSHash.derive(password, salt(slot), iterations(slot), hash, keyBytes)
        let material = HeapBuffer((materialBytes + 511) & ~511)
        try storage.read(into: material.bytes, at: offset + materialOffset(slot))
        try cipher.keyed(slotKey).transform(material.readable, into: material.bytes, firstSector: 0, encrypt: false)
        let master = AntiForensic.merge([UInt8](material.readable.part(0, materialBytes)), keyBytes, hash)
        let digest = LUKSHash.derive(master, masterSalt, masterIterations, hash, 20)
        return digest == masterDigest ? master : nil
    }

    /// Enters a passphrase into a slot of the header and returns the slot's key material.
    mutating func fill(
        _ slot: Int, _ password: [UInt8], master: [UInt8], milliseconds: UInt64
    ) throws(ImageError) -> [UInt8] {
        // The key is longer than a digest at times, each digest of it costing the iterations anew.
        let iterations = LUKSHash.iterations(hash, milliseconds: milliseconds, keyBytes: keyBytes)
        let salt = LUKSHash.random(32)
        let slotKey = LUKSHash.derive(password, salt, iterations, hash, keyBytes)
        let material = HeapBuffer((materialBytes + 511) & ~511)
        material.bytes.copyBytes(from: AntiForensic.split(master, hash))
        try cipher.keyed(slotKey).transform(material.readable, into: material.bytes, firstSector: 0, encrypt: true)
        setSlot(slot, state: Self.inUse, iterations: iterations, salt: salt)
        return [UInt8](material.readable)
    }

    private mutating func setSlot(_ slot: Int, state: UInt32, iterations: Int, salt: [UInt8]) {
        var fields: [UInt8] = []
        fields.putBE(state)
        fields.putBE(UInt32(iterations))
        bytes.replaceSubrange(slotPlace(slot)..<slotPlace(slot) + 40, with: fields + salt)
    }

    // MARK: Amending

    /// Carries out `amend` on the header at `offset` of `storage`. `current` is the passphrase that opened the image.
    static func amend(
        _ storage: any Storage, at offset: UInt64, _ change: LUKSAmendment, current: [UInt8]?
    ) throws(ImageError) {
        var header = try LUKSHeader(storage, at: offset)
        switch change.action {
        case .activate(let password, let milliseconds):
            guard let current else {
                throw ImageError(.permission, "the image's own secret is needed to add another", path: storage.path)
            }
            let slot = try header.slotToFill(change)
            let master = try header.masterKey(current, storage, at: offset)
            let material = try header.fill(slot, password, master: master, milliseconds: milliseconds)
            try storage.write(material, at: offset + header.materialOffset(slot))
            try storage.sync()
            try storage.write(header.bytes, at: offset)
        case .erase(let password):
            for slot in try header.slotsToErase(change, password, storage, at: offset) {
                header.setSlot(slot, state: Self.free, iterations: 0, salt: [UInt8](repeating: 0, count: 32))
                // Random bytes over the material first: once the header is gone nobody would come back for it.
                try storage.write(
                    LUKSHash.random((header.materialBytes + 511) & ~511), at: offset + header.materialOffset(slot))
                try storage.sync()
            }
            try storage.write(header.bytes, at: offset)
        }
        try storage.sync()
    }

    private func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: "luks") }

    private func slotToFill(_ change: LUKSAmendment) throws(ImageError) -> Int {
        guard let slot = change.slot else {
            guard let free = (0..<Self.slotCount).first(where: { !isActive($0) }) else {
                throw bad("Can't add a keyslot - all keyslots are in use")
            }
            return free
        }
        guard !isActive(slot) || change.force else {
            throw bad("Refusing to overwrite active keyslot \(slot) - please erase it first")
        }
        return slot
    }

    private func slotsToErase(
        _ change: LUKSAmendment, _ password: [UInt8]?, _ storage: any Storage, at offset: UInt64
    ) throws(ImageError) -> [Int] {
        let active = activeSlots
        if let slot = change.slot {
            if let password, isActive(slot), try masterKey(inSlot: slot, password, storage, at: offset) == nil {
                throw bad("This keyslot doesn't contain the given old password")
            }
            if !change.force {
                guard isActive(slot) else { throw bad("Given keyslot \(slot) is already erased (inactive)") }
                guard active.count > 1 else {
                    throw bad(
                        "Attempt to erase the only active keyslot \(slot) which will erase all the data in the image "
                            + "irreversibly - refusing operation")
                }
            }
            return [slot]
        }
        guard let password else {
            throw bad(
                "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be "
                    + "given")
        }
        var matching: [Int] = []
        for slot in active where try masterKey(inSlot: slot, password, storage, at: offset) != nil {
            matching.append(slot)
        }
        guard !matching.isEmpty else { throw bad("No keyslots match given (old) password for erase operation") }
        guard change.force || matching.count < active.count else {
            throw bad(
                "All the active keyslots match the (old) password that was given and erasing them will erase all the data "
                    + "in the image irreversibly - refusing operation")
        }
        return matching
    }
}

/// What `amend` shall do to a LUKS header.
struct LUKSAmendment {
    enum Action {
        case activate(password: [UInt8], milliseconds: UInt64)
        /// The slots that open with the password, or the slot that is named.
        case erase(password: [UInt8]?)
    }

    var action: Action
    var slot: Int?
    var force: Bool

    /// The options' names and help, without the `encrypt.` that qcow2 puts before them.
    static let options: [(name: String, kind: CreateOption.Kind, help: String)] = [
        ("state", .string, "Select new state of affected keyslots (active/inactive)"),
        ("new-secret", .string, "New secret to set in the matching keyslots. Empty string to erase"),
        ("old-secret", .string, "Select all keyslots that match this password"),
        ("keyslot", .number, "Select a single keyslot to modify explicitly"),
        ("iter-time", .number, "Time to spend in PBKDF in milliseconds"),
    ]

    /// Reads the options; names begin with `prefix`.
    init(_ request: AmendRequest, prefix: String = "") throws(ImageError) {
        let reader = OptionReader(request.options)
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: "luks") }
        func secret(_ name: String) throws(ImageError) -> [UInt8]? {
            guard let id = reader.text(prefix + name) else { return nil }
            guard let secret = request.secrets[id] else { throw bad("No secret with id '\(id)'") }
            return secret
        }
        let iterTime = try reader.number(prefix + "iter-time")
        force = request.force
        if let number = try reader.number(prefix + "keyslot") {
            guard number < UInt64(LUKSHeader.slotCount) else {
                throw bad("Invalid keyslot \(number) specified, must be between 0 and \(LUKSHeader.slotCount - 1)")
            }
            slot = Int(number)
        }
        switch reader.text(prefix + "state") {
        case "active":
            guard reader.text(prefix + "new-secret") != nil else {
                throw bad("'new-secret' is required to activate a keyslot")
            }
            guard reader.text(prefix + "old-secret") == nil else {
                throw bad("'old-secret' must not be given when activating keyslots")
            }
            action = .activate(password: try secret("new-secret") ?? [], milliseconds: iterTime ?? 2000)
        case "inactive":
            guard reader.text(prefix + "new-secret") == nil else {
                throw bad("'new-secret' must not be given when erasing keyslots")
            }
            guard iterTime == nil else { throw bad("'iter-time' must not be given when erasing keyslots") }
            action = .erase(password: try secret("old-secret"))
        case nil: throw bad("Parameter 'state' is missing")
        case let other?: throw bad("Parameter 'state' does not accept value '\(other)'")
        }
    }
}

/// Splitting a key into many pieces of which all are needed (LUKS On-Disk Format, "AFsplit").
enum AntiForensic {
    private static let stripes = LUKSHeader.stripes

    /// Replaces each digest-sized piece of a block by the hash of its number and itself.
    private static func diffuse(_ block: [UInt8], _ name: String, unit: Int) -> [UInt8] {
        var out: [UInt8] = []
        for (number, start) in stride(from: 0, to: block.count, by: unit).enumerated() {
            let piece = Array(block[start..<min(start + unit, block.count)])
            var input: [UInt8] = []
            input.putBE(UInt32(number))
            out += LUKSHash.hash(input + piece, name).prefix(piece.count)
        }
        return out
    }

    static func merge(_ material: [UInt8], _ count: Int, _ name: String) -> [UInt8] {
        let unit = LUKSHash.hash([], name).count
        var block = [UInt8](repeating: 0, count: count)
        for stripe in 0..<stripes {
            for index in 0..<count { block[index] ^= material[stripe * count + index] }
            if stripe < stripes - 1 { block = diffuse(block, name, unit: unit) }
        }
        return block
    }

    static func split(_ key: [UInt8], _ name: String) -> [UInt8] {
        let unit = LUKSHash.hash([], name).count
        var material = LUKSHash.random(key.count * (stripes - 1))
        var block = [UInt8](repeating: 0, count: key.count)
        for stripe in 0..<stripes - 1 {
            for index in 0..<key.count { block[index] ^= material[stripe * key.count + index] }
            block = diffuse(block, name, unit: unit)
        }
        material += zip(block, key).map { $0 ^ $1 }
        return material
    }
}
