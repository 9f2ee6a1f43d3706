import Images
import LabSpec
import Testing

/// The lab file knows the formats that the library has, and what can be done with them.
@Suite struct FormatNameTests {
    private func names(_ isMeant: (any ImageFormat) -> Bool) -> Set<String> {
        Set(FormatRegistry.formats.filter(isMeant).map(\.name))
    }

    private func names(_ formats: [DiskFormat]) -> Set<String> { Set(formats.map(\.rawValue)) }

    /// An image that is encrypted as a whole needs a secret, and the lab file has no place for one.
    private static let needsSecret = "luks"

    @Test func everyRegisteredFormatIsAWordOfTheLabFile() {
        #expect(names(DiskFormat.allCases) == names { $0.capabilities.contains(.read) })
    }

    @Test func whatCanBeMadeIsWhatTheLibraryMakes() {
        let made = names { $0.capabilities.contains(.create) && $0.name != Self.needsSecret }
        #expect(names(DiskFormat.convertible) == made)
        let writtenOnce = names { $0.capabilities.contains(.writeOnce) }
        #expect(names(DiskFormat.creatable) == made.subtracting(writtenOnce))
        #expect(names(DiskFormat.compressible) == names { $0.capabilities.contains(.compress) })
    }
}
