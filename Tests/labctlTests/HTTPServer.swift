import Foundation
import Glibc
import Synchronization

/// A web server of one file, for tests: ranges, a connection that breaks off, and errors.
final class HTTPServer: Sendable {
    /// What a server does wrong.
    struct Manners: Sendable {
        /// The first answers end after so many bytes, one after another.
        var cuts: [Int] = []
        var knowsRanges = true
        /// The status line of every answer, in place of the right one.
        var status: String?
    }

    let port: UInt16
    private let listener: Int32
    private let content: [UInt8]
    private let manners: Manners
    /// What was asked for: `0-` or the range of a request.
    private let asked = Mutex<[String]>([])

    init(_ content: [UInt8], _ manners: Manners = Manners()) throws {
        self.content = content
        self.manners = manners
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let socket = listener
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, length) == 0 && listen(socket, 8) == 0 && getsockname(socket, $0, &length) == 0
            }
        }
        guard bound else { throw POSIXError(.EADDRINUSE) }
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [self] in serve() }
    }

    /// Ends it: the thread sees an error and leaves.
    func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

    func url(_ name: String) -> String { "http://127.0.0.1:\(port)/\(name)" }

    var requests: [String] { asked.withLock { $0 } }

    private func serve() {
        while true {
            let client = accept(listener, nil, nil)
            guard client >= 0 else { break }
            answer(client)
            close(client)
        }
        close(listener)
    }

    private func answer(_ client: Int32) {
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !text.contains("\r\n\r\n") {
            let count = read(client, &buffer, buffer.count)
            guard count > 0 else { return }
            text += String(decoding: buffer[..<count], as: UTF8.self)
        }
        let range = text.components(separatedBy: "\r\n").first { $0.lowercased().hasPrefix("range: bytes=") }
            .map { String($0.dropFirst("range: bytes=".count)) }
        let number = asked.withLock { asked in
            asked.append(range ?? "all")
            return asked.count - 1
        }
        var start = 0
        var status = "200 OK"
        if manners.knowsRanges, let range, let first = Int(range.prefix { $0.isNumber }) {
            start = min(first, content.count)
            status = start < content.count ? "206 Partial Content" : "416 Range Not Satisfiable"
        }
        if let own = manners.status { status = own }
        let body = status.hasPrefix("2") ? Array(content[start...]) : []
        var head = "HTTP/1.1 \(status)\r\nContent-Length: \(body.count)\r\nConnection: close\r\n"
        if status.hasPrefix("206") { head += "Content-Range: bytes \(start)-\(content.count - 1)/\(content.count)\r\n" }
        let sent = manners.cuts.indices.contains(number) ? Array(body.prefix(manners.cuts[number])) : body
        var rest = (Array((head + "\r\n").utf8) + sent)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(client, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
