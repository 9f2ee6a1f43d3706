import Glibc
import Images
import LabSpec

/// Whether the images that a lab makes empty can be made: formats have limits of their own, which only their drivers know.
struct FormatLimits {
    private let lab: Lab

    init(_ lab: Lab) { self.lab = lab }

    /// Makes each of them for a moment, as a file with holes.
    /// - Parameter folder: a folder of the user's own.
    /// - Returns: why an image cannot be made.
    func failures(in folder: String) -> [ImageReference: String] {
        var failures: [ImageReference: String] = [:]
        for image in lab.images {
            guard case .create(let recipe) = image.source, Folder.make(folder) == nil else { continue }
            let path = "\(folder)/limits-\(getpid()).tmp"
            defer { unlink(path) }
            do throws(ImageError) {
                try DiskImage.create(path, format: recipe.format.rawValue, size: recipe.size.bytes)
            } catch {
                // A full disk says nothing about the format.
                guard error.kind != .outOfSpace, error.kind != .io else { continue }
                failures[.named(image.name)] =
                    "image '\(image.name)': \(recipe.size) as \(recipe.format.rawValue) cannot be made: "
                    + error.sentence.replacing(path, with: image.name)
            }
        }
        return failures
    }
}
