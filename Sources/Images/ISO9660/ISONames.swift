/// Names as the two trees of a CD have them: ISO 9660 (ECMA-119, 7.5: capitals, digits, underscores, at most 31 of them) and
/// Joliet (UCS-2, big endian, at most 64 characters). Within a folder each is there once. What a name really is stands in Rock
/// Ridge's `NM`.
enum ISONames {
    /// ECMA-119 interchange level 2.
    private static let longest = 31
    /// Joliet 1.4 and what all readers take.
    private static let longestJoliet = 64

    /// The ISO 9660 names of a folder's children, in their order, without version numbers.
    static func plain(_ entries: [ISOEntry]) -> [String] {
        var taken: Set<String> = []
        return entries.map { entry in
            let (stem, ending) = parts(entry)
            return unique(&taken) { suffix in
                let room = longest - (ending.isEmpty ? 0 : ending.count + 1) - suffix.count
                let base = stem.prefix(max(0, room)) + suffix
                return ending.isEmpty ? String(base) : "\(base).\(ending)"
            }
        }
    }

    private static func parts(_ entry: ISOEntry) -> (stem: String, ending: String) {
        func allowed(_ text: Substring) -> String {
            String(
                text.unicodeScalars.map { scalar -> Character in
                    switch scalar {
                    case "a"..."z": Character(Unicode.Scalar(UInt8(scalar.value - 32)))
                    case "A"..."Z", "0"..."9", "_": Character(scalar)
                    default: "_"
                    }
                })
        }
        guard !entry.isFolder, let dot = entry.name.lastIndex(of: "."), dot != entry.name.startIndex else {
            return (nonEmpty(allowed(entry.name[...])), "")
        }
        let ending = allowed(entry.name[entry.name.index(after: dot)...])
        return (nonEmpty(allowed(entry.name[..<dot])), String(ending.prefix(8)))
    }

    private static func nonEmpty(_ text: String) -> String { text.isEmpty ? "_" : text }

    /// The Joliet names of a folder's children, in their order, without version numbers.
    static func joliet(_ entries: [ISOEntry]) -> [[UInt16]] {
        var taken: Set<[UInt16]> = []
        return entries.map { entry in
            let units = entry.name.utf16.map { unit -> UInt16 in
                let isForbidden = unit < 0x20 || "*/:;?\\".utf16.contains(unit)
                return isForbidden ? 0x5F : unit
            }
            return unique(&taken) { suffix in
                let ending = Array(suffix.utf16)
                return Array(units.prefix(longestJoliet - ending.count)) + ending
            }
        }
    }

    private static func unique<Name: Hashable>(_ taken: inout Set<Name>, _ make: (String) -> Name) -> Name {
        var name = make("")
        var number = 1
        while !taken.insert(name).inserted {
            name = make("_\(number)")
            number += 1
        }
        return name
    }
}
