import ArgumentParser
import Images

/// `labctl image iso`.
struct ImageISO: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iso", abstract: "Makes a CD image of a folder: ISO 9660 with Joliet and Rock Ridge.",
        discussion: """
            Long names, symbolic links and what can be executed are kept; owners are root, everybody may read. The same files \
            give the same image. With --boot, the CD starts a boot loader of the folder (El Torito, no emulation).


            """ + ImageHelp.examples("iso pool/ pool.iso -V POOL", "iso cd/ boot.iso --boot isolinux/isolinux.bin"))

    @Option(name: [.customShort("V"), .customLong("label")], help: "The CD's label, at most 32 characters.")
    var label = "CDROM"

    @Option(help: "The boot loader's path within the folder.")
    var boot: String?

    @Flag(help: "Leaves the boot loader as it is: others than ISOLINUX and GRUB want no table in it.")
    var noBootTable = false

    @Argument(help: "The folder.") var folder: String
    @Argument(help: "The image to write.") var output: String

    func run() throws {
        do throws(ImageError) {
            let writer = try ISOWriter(
                ISOEntry.scan(folder),
                ISOWriter.Options(label: label, bootFile: boot, hasBootTable: !noBootTable))
            try writer.write(to: output)
        } catch {
            throw fail(error.message)
        }
    }
}
