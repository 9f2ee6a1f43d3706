import ArgumentParser
import Images

/// `-o` lists: parsing, `-o help`, and the line that `create` prints.
enum ImageOptions {
    static func asksForHelp(_ lists: [String]) -> Bool {
        lists.contains { $0.split(separator: ",").contains { $0 == "help" || $0 == "?" } }
    }

    /// Parses all `-o` lists and refuses names that the format does not have.
    static func parse(_ lists: [String], format: String, filename: String? = nil) throws -> [String: String] {
        var values: [String: String] = [:]
        guard let driver = FormatRegistry.format(named: format) else { return values }
        for item in lists.flatMap(KeyValueList.parse) {
            guard driver.options.contains(where: { $0.name == item.key }) else {
                throw fail((filename.map { "\($0): " } ?? "") + "Invalid parameter '\(item.key)'")
            }
            values[item.key] = item.value
        }
        do throws(ImageError) {
            try CreateOption.check(values, driver)
        } catch {
            throw fail((filename.map { "\($0): " } ?? "") + error.message)
        }
        return values
    }

    static func printHelp(_ format: String) throws {
        guard let driver = FormatRegistry.format(named: format) else { throw fail("Unknown file format '\(format)'") }
        print("Supported \(format) options:")
        for option in driver.options.sorted(by: { $0.name < $1.name }) {
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
        for option in driver.options {
            let value: String?
            switch option.name {
            case "size": value = String(request.size)
            case "backing_file": value = request.backing?.file
            case "backing_fmt": value = request.backing?.format
            default:
                let given = request.options[option.name]
                value =
                    option.kind == .size
                    ? given.flatMap(ByteCount.parse).map(String.init) ?? given ?? option.defaultValue
                    : given ?? option.defaultValue
            }
            if let value { line += " \(option.name)=\(quotedIfNeeded(value))" }
        }
        return line
    }

    private static func quotedIfNeeded(_ value: String) -> String {
        value.isEmpty || value.contains(" ") ? "'\(value)'" : value
    }

    static func badSize() -> ExitCode {
        ImageOutput.error("Invalid image size specified. You may use k, M, G, T, P or E suffixes for")
        return fail("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.")
    }

    static func badSizeParameter(_ name: String) -> String {
        "Parameter '\(name)' expects a non-negative number below 2^64\n"
            + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
    }
}
