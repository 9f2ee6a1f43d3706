import Foundation
import Seeded
import Testing

@testable import Images

/// A folder of its own per test, removed at the end.
final class Scratch {
    let folder: String

    init() {
        folder = NSTemporaryDirectory() + "images-test-" + UUID().uuidString
        try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { folder + "/" + name }
}

typealias SeededRandom = Seeded.SeededRandom

struct ToolResult {
    var status: Int32
    var output: String
}

/// Runs a program of Debian's and returns its exit code and everything it printed.
@discardableResult
func run(_ arguments: [String], in folder: String? = nil) throws -> ToolResult {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return ToolResult(status: process.terminationStatus, output: String(decoding: data, as: UTF8.self))
}

extension BlockDevice {
    func bytes(at offset: UInt64, count: Int) throws -> [UInt8] {
        let buffer = HeapBuffer(count, zeroed: false)
        try read(into: buffer.bytes.part(0, count), at: offset)
        return [UInt8](buffer.readable.part(0, count))
    }

    func put(_ bytes: [UInt8], at offset: UInt64) throws {
        try bytes.withUnsafeBytes { try write(from: $0, at: offset) }
    }
}

func open(_ path: String, format: String? = nil, readOnly: Bool = false) throws -> any BlockDevice {
    try DiskImage.open(path, options: OpenOptions(format: format, readOnly: readOnly))
}

/// The first byte in which two disks differ, nil for equal ones. (`#expect` of unequal arrays takes hours to print.)
func firstDifference(_ one: [UInt8], _ other: [UInt8]) -> Int? {
    if one == other { return nil }
    return zip(one, other).enumerated().first { $1.0 != $1.1 }?.offset ?? min(one.count, other.count)
}

/// A disk kept as plain bytes, to which an image must stay equal.
struct DiskModel {
    var bytes: [UInt8]

    /// One random request, applied to the image and to the model.
    mutating func step(_ device: any BlockDevice, _ random: inout SeededRandom, longest: Int) throws {
        try apply(.random(diskBytes: bytes.count, &random, longest: longest), device)
    }

    mutating func apply(_ request: DiskRequest, _ device: any BlockDevice) throws {
        switch request {
        case .write(let offset, let data):
            try device.put(data, at: UInt64(offset))
            bytes.replaceSubrange(offset..<offset + data.count, with: data)
        case .zero(let range, let unmap):
            try device.writeZeroes(at: UInt64(range.lowerBound), count: UInt64(range.count), mayUnmap: unmap)
            bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
        case .discard(let range):
            // A discard leaves zeros or the old bytes, so the model asks.
            try device.discard(at: UInt64(range.lowerBound), count: UInt64(range.count))
            let now = try device.bytes(at: UInt64(range.lowerBound), count: range.count)
            for (index, byte) in zip(range, now) where byte != 0 { #expect(byte == bytes[index]) }
            bytes.replaceSubrange(range, with: now)
        case .flush: try device.flush()
        case .read(let range):
            let read = try device.bytes(at: UInt64(range.lowerBound), count: range.count)
            #expect(firstDifference(read, Array(bytes[range])) == nil)
        }
    }

    func check(_ device: any BlockDevice) throws {
        let difference = firstDifference(try device.bytes(at: 0, count: bytes.count), bytes)
        #expect(difference == nil, "the disk differs from the model at byte \(difference ?? -1)")
    }
}
