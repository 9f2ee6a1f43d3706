/// The numbers of diagnostics. A number keeps its meaning for ever; new ones are added at the end of their group.

/// What kind of mistake a diagnostic reports.
public enum DiagnosticCode: String, Sendable, Hashable, CaseIterable {
    // Reading the file.
    case unreadableFile = "L001"
    case syntax = "L002"
    case limit = "L003"
    case duplicateKey = "L004"
    case alias = "L005"
    case variable = "L006"
    case unusedVariable = "L007"
    case document = "L008"

    // One key and its value.
    case wrongType = "L010"
    case missingKey = "L011"
    case unknownKey = "L012"
    case badSize = "L013"
    case badDuration = "L014"
    case unknownChoice = "L015"
    case outOfRange = "L016"
    case badName = "L017"
    case badBootOrder = "L018"
    case badDigest = "L019"

    // Keys and sections together.
    case unknownImage = "L020"
    case unknownVM = "L021"
    case unknownNetwork = "L022"
    case conflict = "L023"
    case missingCompanion = "L024"
    case twoWriters = "L025"
    case dependencyCycle = "L026"
    case imageCycle = "L027"
    case missingFile = "L028"
    case rawFormat = "L029"
    case nameCollision = "L030"
    case goldenWrite = "L031"
    case nothingToBoot = "L032"
    case badRegex = "L033"
    case unsupported = "L034"
    case unusableImage = "L035"
    case badAddress = "L036"
    case badKeys = "L037"
    case badRoster = "L038"

    /// Not about a place in the text: nothing of it is shown.
    var isAboutWholeFile: Bool { self == .unreadableFile || self == .unusedVariable }

    /// One line for the guide's table.
    public var summary: String {
        switch self {
        case .unreadableFile: "the lab file cannot be read"
        case .syntax: "not YAML"
        case .limit: "too large, too deep, too many aliases, or too many VMs"
        case .duplicateKey: "the same key, or the same entry of a list, twice"
        case .alias: "an alias without its anchor, or a merge key without a mapping"
        case .variable: "a variable that is not set, or is misspelled"
        case .unusedVariable: "`--set` of a variable that the file does not use (warning)"
        case .document: "an empty file, or several documents in one"
        case .wrongType: "a value of the wrong type"
        case .missingKey: "a key that has to be there is not"
        case .unknownKey: "a key that does not exist"
        case .badSize: "a size that cannot be read"
        case .badDuration: "a duration that cannot be read"
        case .unknownChoice: "not one of the words that the key takes"
        case .outOfRange: "a number, size or duration outside its limits"
        case .badName: "a name with other characters than letters, digits, `-` and `_`"
        case .badBootOrder: "boot letters other than `a c d n`, or a device that is not there (warning)"
        case .badDigest: "not 64 hex digits"
        case .unknownImage: "an image that is not declared"
        case .unknownVM: "a VM that is not declared"
        case .unknownNetwork: "a network that is not declared"
        case .conflict: "keys that exclude one another, such as `hdc` and `cdrom`"
        case .missingCompanion: "a key that needs another, such as `initrd` without `kernel`"
        case .twoWriters: "an image file written by one VM and used by another, or twice by one"
        case .dependencyCycle: "VMs that wait for one another"
        case .imageCycle: "images made from one another"
        case .missingFile: "a file that does not exist, or is not a file"
        case .rawFormat: "a raw image that does not say `format: raw`"
        case .nameCollision: "two VMs of one name, once replicas are numbered"
        case .goldenWrite: "`mode: direct` on a golden image"
        case .nothingToBoot: "a VM without disk, CD, floppy and kernel (warning)"
        case .badRegex: "not a regular expression"
        case .unsupported: "something that this version cannot run"
        case .unusableImage: "an image file with another digest or format, or that names files it must not"
        case .badAddress: "an address that nothing can be downloaded from"
        case .badKeys: "keys that no keyboard has"
        case .badRoster: "a roster that cannot be read, or makes no names"
        }
    }
}
