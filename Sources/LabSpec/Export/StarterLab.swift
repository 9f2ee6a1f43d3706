/// The lab file that `labctl init` writes. It is valid as it stands.
public struct StarterLab: Sendable {
    private let name: String
    private let image: String?
    private let imageFormat: String?
    private let cdrom: String?
    private let url: String?
    private let sha256: String?

    /// - Parameters:
    ///   - name: the lab's name.
    ///   - image: path of a disk image; without one the lab has an empty disk.
    ///   - imageFormat: its format, where the lab file has to say it.
    ///   - cdrom: path of an ISO.
    ///   - url: address of a disk image, with its digest.
    public init(
        name: String, image: String? = nil, imageFormat: String? = nil, cdrom: String? = nil, url: String? = nil,
        sha256: String? = nil
    ) {
        self.name = name
        self.image = image
        self.imageFormat = imageFormat
        self.cdrom = cdrom
        self.url = url
        self.sha256 = sha256
    }

    /// The text of the file.
    public var text: String {
        """
        # A lab for labctl. Check it with `labctl validate`, bring it up with `labctl up`.
        # For completion in editors: save `labctl schema` as lab.schema.json and keep the next line.
        # yaml-language-server: $schema=lab.schema.json
        lab: \(StarterLab.quoted(name))

        # Golden images. No VM ever writes to them.
        images:
        \(imageEntry)
          # More ways to come by an image:
          # debian:
          #   path: images/debian-12.qcow2    # relative to this file
          #   format: qcow2                   # needed for raw images, otherwise found out
          #   sha256: ...                     # refuses a file that differs
          # cloud:
          #   url: https://example.org/debian-12.qcow2
          #   sha256: ...                     # sha256sum of what is downloaded; .xz, .gz and .zst are unpacked
          # converted:
          #   convert: { from: server.vmdk, format: qcow2, compress: true }
          # installed:
          #   build:
          #     from: debian
          #     steps:
          #       - wait: "login: "
          #       - send: "root\\n"
          #       - wait: "# "
          #       - run: apt-get -y install gcc
          #       - run: poweroff
          #     timeout: 20m

        vms:
          machine:
            memory: 512M                      # K, M, G are powers of 1024
            disks:
              hda: { base: disk }             # a copy-on-write overlay of its own
              # hdb: { image: shared.qcow2, mode: read-only }
        \(cdromEntry)
            # boot: dc                        # c disk, d CD, a floppy, n network; several letters are an order
            # replicas: 30                    # machine-01 ... machine-30
            # ready: { console: "login: ", timeout: 2m }
            # depends_on: [ server ]          # starts when that one is ready
            # restart: on-failure             # or no, always

        """
    }

    private var imageEntry: String {
        if let url {
            let isRaw = ImageAddress(url).format == nil
            return "  disk:\n    url: \(StarterLab.quoted(url))\n    sha256: \(sha256 ?? "")"
                + (isRaw ? "\n    format: raw                       # or what it is" : "")
        }
        guard let image else {
            return """
                  disk:
                    create: { size: 10G }             # an empty disk; `format` is qcow2 unless you say otherwise
                """
        }
        // `.img` may be anything; `validate` says so.
        let isRaw = [".raw", ".dd", ".bin"].contains { image.lowercased().hasSuffix($0) }
        return "  disk:\n    path: \(StarterLab.quoted(image))"
            + ((imageFormat ?? (isRaw ? "raw" : nil)).map { "\n    format: \($0)" } ?? "")
    }

    private var cdromEntry: String {
        guard let cdrom else { return "    # cdrom: debian-12-netinst.iso      # read-only" }
        return "    cdrom: \(StarterLab.quoted(cdrom.contains("/") || cdrom.contains(".") ? cdrom : "./" + cdrom))"
    }

    /// A lab's name as the file has it.
    static func quotedName(_ name: String) -> String { quoted(name) }

    /// Text that YAML reads back as this text: plain where that is plain to see, else in double quotes.
    private static func quoted(_ text: String) -> String {
        let isSafe = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x2F, 0x5F: true
            default: false
            }
        }
        let scalar = Node.Scalar(text: text, isPlain: true, hasVariable: false)
        if isSafe, !text.isEmpty, !text.hasPrefix("-"), scalar.type == .string { return text }
        // `$${` is how a lab file writes the characters `${`.
        let escaped = text.split(separator: "${", omittingEmptySubsequences: false).joined(separator: "$${")
        return JSONText.string(escaped).description
    }
}
