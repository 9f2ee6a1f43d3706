/// The text that describes a VMDK (VMware Virtual Disk Format 5.0, "The Descriptor File"): a file of its own, or
/// embedded in a sparse extent.
///
///     CID=fffffffe            changes with the content
///     parentCID=ffffffff      the parent's CID when this image was made, all ones without one
///     createType="…"          monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, …
///     parentFileNameHint="…"
///     RW 20480 SPARSE "name" [offset]      access, sectors, type, file, first sector (FLAT)
///     ddb.… = "…"
struct VMDKDescriptor {
    struct Extent {
        var access: String
        var sectors: UInt64
        var type: String
        var file: String?
        var offset: UInt64
    }

    static let noParent: UInt32 = 0xffff_ffff
    static let maximumBytes = 1 << 20

    var cid: UInt32 = 0
    var parentCID: UInt32 = noParent
    var createType = ""
    var parentHint: String?
    var extents: [Extent] = []
    private(set) var lines: [String] = []

    init(parsing text: String, path: String) throws(ImageError) {
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.hasSuffix("\r") ? String(line.dropLast()) : String(line)
        }
        guard lines.contains(where: { $0.hasPrefix("# Disk DescriptorFile") }) else {
            throw ImageError(.corrupt, "invalid VMDK image descriptor", format: "vmdk", path: path)
        }
        for line in lines {
            let trimmed = line.drop { $0 == " " || $0 == "\t" }
            if let value = Self.value(trimmed, "CID") { cid = UInt32(value, radix: 16) ?? 0 }
            if let value = Self.value(trimmed, "parentCID") { parentCID = UInt32(value, radix: 16) ?? Self.noParent }
            if let value = Self.value(trimmed, "createType") { createType = value }
            if let value = Self.value(trimmed, "parentFileNameHint") { parentHint = value }
            if let extent = Self.extent(trimmed) { extents.append(extent) }
        }
    }

    /// The value of `name=…` or `name = …`, quotes taken off; nil for other lines.
    private static func value(_ line: Substring, _ name: String) -> String? {
        guard line.hasPrefix(name) else { return nil }
        let rest = line.dropFirst(name.count).drop { $0 == " " }
        guard rest.first == "=" else { return nil }
        return String(rest.dropFirst().filter { $0 != "\"" }.drop { $0 == " " })
    }

    private static func extent(_ line: Substring) -> Extent? {
        let words = line.split(separator: " ", maxSplits: 3)
        guard words.count >= 3, ["RW", "RDONLY", "NOACCESS"].contains(words[0]), let sectors = UInt64(words[1]) else {
            return nil
        }
        var file: String?
        var offset: UInt64 = 0
        if words.count > 3 {
            let quoted = words[3].split(separator: "\"", omittingEmptySubsequences: false)
            if quoted.count >= 3 {
                file = String(quoted[1])
                offset = UInt64(quoted[2].filter { $0 != " " }) ?? 0
            }
        }
        return Extent(access: String(words[0]), sectors: sectors, type: String(words[2]), file: file, offset: offset)
    }

    /// The text with another value for `name=`.
    func replacing(_ name: String, with value: String) -> String {
        lines.map { line in Self.value(Substring(line), name) == nil ? line : "\(name)=\(value)" }.joined(
            separator: "\n")
    }

    /// A new descriptor as text.
    static func text(
        cid: UInt32, parent: (cid: UInt32, hint: String)?, createType: String, extents: [String], sectors: UInt64,
        adapter: String, hardware: String, tools: String
    ) -> String {
        var out = "# Disk DescriptorFile\nversion=1\nCID=\(hex(cid))\nparentCID=\(hex(parent?.cid ?? noParent))\n"
        out += "createType=\"\(createType)\"\n"
        if let parent { out += "parentFileNameHint=\"\(parent.hint)\"\n" }
        out += "\n# Extent description\n" + extents.joined(separator: "\n") + "\n"
        let heads: UInt64 = adapter == "ide" ? 16 : 255
        out += "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"\(hardware)\"\n"
        out += "ddb.geometry.cylinders = \"\(sectors / (63 * heads))\"\nddb.geometry.heads = \"\(heads)\"\n"
        out += "ddb.geometry.sectors = \"63\"\nddb.adapterType = \"\(adapter)\"\nddb.toolsVersion = \"\(tools)\"\n"
        return out
    }

    static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
