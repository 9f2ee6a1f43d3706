import LabSpec
import Testing

@testable import Orchestrator

/// Which files the images of a lab may name.
@Suite struct ImageFolderTests {
    private func allowed(_ folder: TemporaryFolder, homes: [String]) -> ImageFolders {
        var lab = Lab(name: "lab", path: folder.path + "/labs/lab.yaml")
        let path = LabPath(written: "x", absolute: folder.path + "/images/base.qcow2")
        lab.images = [Image(name: "base", source: .file(FileSource(path: path)))]
        var vm = VM(name: "alpha")
        let disc = LabPath(written: "y", absolute: folder.path + "/discs/a.iso")
        vm.cdrom = .path(disc)
        lab.vms = [vm]
        for name in ["labs", "images", "discs"] { #expect(Folder.make(folder.path + "/" + name) == nil) }
        return ImageFolders(lab, homes: homes)
    }

    @Test func theLabsFolderAndThoseOfItsImagesCount() throws {
        let folder = try TemporaryFolder()
        let allowed = allowed(folder, homes: ["/home/ada"])
        #expect(allowed.folders == [folder.path + "/labs", folder.path + "/images"])
        #expect(allowed.files == [folder.path + "/images/base.qcow2", folder.path + "/discs/a.iso"])
    }

    @Test func aHomeFolderAndWhatIsAboveItDoNot() throws {
        let folder = try TemporaryFolder()
        #expect(allowed(folder, homes: [folder.path + "/labs"]).folders == [folder.path + "/images"])
        #expect(allowed(folder, homes: [folder.path + "/images/ada"]).folders == [folder.path + "/labs"])
        #expect(allowed(folder, homes: [folder.path]).folders.count == 2, "what is below a home is a choice")
    }
}
