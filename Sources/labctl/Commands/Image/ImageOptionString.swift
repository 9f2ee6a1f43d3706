import Images

/// An image named by options, `driver=qcow2,file.driver=file,file.filename=/path` (`--image-opts`): what `ImageName` says
/// of them, and qemu-img's way to complain.
struct ImageOptionString {
    let name: ImageName

    init(parsing text: String) throws {
        guard text.contains("=") else {
            throw fail("Could not open '\(text)': Cannot find device='\(text)' nor node-name='\(text)'")
        }
        var fields: [String: String] = [:]
        for item in KeyValueList.parse(text) { fields[item.key] = item.value }
        do {
            name = try ImageName(options: fields)
        } catch {
            throw fail("Could not open '\(text)': \(error.message)")
        }
    }
}
