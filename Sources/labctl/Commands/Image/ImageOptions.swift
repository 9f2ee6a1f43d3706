import ArgumentParser
import Images

/// `-o` lists: parsing, `-o help`, and the line that `create` prints.
enum ImageOptions {
    static func asksForHelp(_ lists: [String]) -> Bool {
        lists.contains { list in
            // A doubled comma belongs to a value, whatever follows it.
            KeyValueList.items(list).contains { $0 == "help" || $0 == "?" }
        }
    }

    /// Parses all `-o` lists and refuses names that the format does not have.
    static func parse(_ lists: [String], format: String, filename: String? = nil) throws -> [String: String] {
        try checkLists(lists)
        guard let driver = FormatRegistry.format(named: format) else { return [:] }
        do throws(ImageError) {
            return try values(lists, driver.creationOptions)
        } catch {
            throw fail((filename.map { "\($0): " } ?? "") + error.message)
        }
    }

    /// The values of `-o` lists by name, each of an option in `options` and of its type.
    static func values(_ lists: [String], _ options: [CreateOption]) throws(ImageError) -> [String: String] {
        var values: [String: String] = [:]
        for item in lists.flatMap(KeyValueList.parse) {
            guard options.contains(where: { $0.name == item.key }) else {
                throw ImageError(.invalidArgument, "Invalid parameter '\(item.key)'")
            }
            values[item.key] = item.value
        }
        try CreateOption.check(values, options)
        return values
    }

    /// A list that is empty, or has a comma too many at an end, would swallow a part of the next one.
    static func checkLists(_ lists: [String]) throws {
        for list in lists {
            let trailing = list.reversed().prefix { $0 == "," }.count
            if list.isEmpty || list.hasPrefix(",") || trailing % 2 == 1 { throw fail("Invalid option list: \(list)") }
        }
    }

    /// `-o help`: of a format, or with `filename` of a format in a file.
    static func printHelp(_ format: String, filename: String? = nil) throws {
        guard let driver = FormatRegistry.format(named: format) else { throw fail("Unknown file format '\(format)'") }
        guard driver.capabilities.contains(.create) else {
            throw fail("Format driver '\(format)' does not support image creation")
        }
        if filename != nil { return printTable("Supported options:", driver.creationOptions) }
        // A raw image is nothing but its file, LUKS little more: setting space aside is what files can do.
        let ofFile = ["raw", "luks"].contains(driver.name) ? ["preallocation"] : []
        let options = driver.options.filter { !ofFile.contains($0.name) }
        printTable("Supported \(format) options:", options)
        print(
            "\nThe protocol level may support further options.\nSpecify the target filename to include those options.")
    }

    static func printTable(_ title: String, _ options: [CreateOption]) {
        print(title)
        for option in options.sorted(by: { $0.name < $1.name }) {
            let kind =
                switch option.kind {
                case .size: "<size>"
                case .number: "<num>"
                case .bool: "<bool (on/off)>"
                case .string: "<str>"
                }
            let head = "  \(option.name)=\(kind)"
            print(head + String(repeating: " ", count: max(1, 25 - head.count)) + "- \(option.help)")
        }
    }

    /// "Formatting 'x', fmt=qcow2 cluster_size=65536 …": every option that is given or has a default, in table order.
    static func formattingLine(_ driver: any ImageFormat, _ request: CreateRequest) -> String {
        var line = "Formatting '\(request.path)', fmt=\(driver.name)"
        for option in driver.creationOptions {
            let value: String?
            switch option.name {
            case "size": value = String(request.size)
            case "backing_file": value = request.backing.flatMap { $0.file.isEmpty ? nil : $0.file }
            case "backing_fmt": value = request.backing?.format
            default:
                let given = request.options[option.name]
                value =
                    option.kind == .size
                    ? given.flatMap(ByteCount.parse).map(String.init) ?? given ?? option.defaultValue
                    : given ?? option.defaultValue
            }
            if let value { line += " \(option.name)=\(escaped(value))" }
        }
        return line
    }

    /// As the value of a list, in which a comma is doubled.
    private static func escaped(_ value: String) -> String { value.replacing(",", with: ",,") }

    /// The complaint about a byte count that cannot be read, or that leaves `least…limit`.
    static func badNumber(_ name: String, _ text: String, least: UInt64 = 0, limit: UInt64 = UInt64(Int64.max))
        -> ExitCode
    {
        if ByteCount.parse(text) != nil || ByteCount.isTooLarge(text) {
            return fail("Invalid \(name) specified. Must be between \(least) and \(limit).")
        }
        ImageOutput.error("Invalid \(name) specified. You may use k, M, G, T, P or E suffixes for")
        return fail("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.")
    }

    /// A byte count given on the command line, within its bounds.
    static func bytes(
        _ text: String?, _ name: String, least: UInt64 = 0, limit: UInt64 = UInt64(Int64.max)
    ) throws -> UInt64? {
        guard let text else { return nil }
        guard let value = ByteCount.parse(text), (least...limit).contains(value) else {
            throw badNumber(name, text, least: least, limit: limit)
        }
        return value
    }

    static func badSizeParameter(_ name: String) -> String {
        "Parameter '\(name)' expects a non-negative number below 2^64\n"
            + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
    }
}
