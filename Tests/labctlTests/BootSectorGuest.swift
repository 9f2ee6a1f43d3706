/// A guest of one disk sector: enough to boot, talk, write, power off and be told to. Tests of everything around a guest
/// need no more, and it is up in the time that the firmware takes.
///
/// The BIOS loads it at 0000:7C00. It polls COM1, says `login: `, echoes what is typed, and obeys lines:
///
/// | line | does |
/// | --- | --- |
/// | `wTEXT` | writes TEXT into sector 1 of its disk |
/// | `r` | says `disk: ` and what is in sector 1 |
/// | `q` | powers off through ACPI; the power button does so too |
enum BootSectorGuest {
    /// A raw disk image: the sector, and room to write.
    static var image: [UInt8] {
        var bytes = sector
        bytes += [UInt8](repeating: 0, count: (1 << 20) - bytes.count)
        return bytes
    }

    /// The boot sector, from the rows of the listing.
    static var sector: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 512)
        for line in listing.split(separator: "\n") {
            let parts = line.split(separator: "|", maxSplits: 1)
            let words = (parts.first ?? "").split(separator: " ")
            guard words.count > 1, let address = Int(words[0], radix: 16) else { continue }
            for (index, word) in words.dropFirst().enumerated() {
                bytes[address - 0x7C00 + index] = UInt8(word, radix: 16) ?? 0
            }
        }
        bytes[510] = 0x55
        bytes[511] = 0xAA
        return bytes
    }

    /// Address, bytes, instruction (AT&T syntax, 16-bit code).
    static let listing = #"""
        _start:
        7C00  FA                | cli
        7C01  31 C0             | xor %ax,%ax
        7C03  8E D8             | mov %ax,%ds
        7C05  8E C0             | mov %ax,%es
        7C07  8E D0             | mov %ax,%ss
        7C09  BC 00 7C          | mov $0x7c00,%sp
        7C0C  88 16 10 7D       | mov %dl,0x7d10
        7C10  FB                | sti
        7C11  66 B8 40 0B 00 80 | mov $0x80000b40,%eax
        7C17  BA F8 0C          | mov $0xcf8,%dx
        7C1A  66 EF             | out %eax,(%dx)
        7C1C  BA FC 0C          | mov $0xcfc,%dx
        7C1F  ED                | in (%dx),%ax
        7C20  83 E0 C0          | and $0xffc0,%ax
        7C23  A3 11 7D          | mov %ax,0x7d11
        7C26  BE DF 7C          | mov $0x7cdf,%si
        7C29  E8 72 00          | call 7c9e <puts>
        prompt:
        7C2C  BF 00 80          | mov $0x8000,%di
        next:
        7C2F  E8 86 00          | call 7cb8 <getc>
        7C32  E8 74 00          | call 7ca9 <putc>
        7C35  3C 0D             | cmp $0xd,%al
        7C37  74 07             | je 7c40 <enter>
        7C39  3C 0A             | cmp $0xa,%al
        7C3B  74 03             | je 7c40 <enter>
        7C3D  AA                | stos %al,%es:(%di)
        7C3E  EB EF             | jmp 7c2f <next>
        enter:
        7C40  C6 05 00          | movb $0x0,(%di)
        7C43  BE EE 7C          | mov $0x7cee,%si
        7C46  E8 55 00          | call 7c9e <puts>
        7C49  A0 00 80          | mov 0x8000,%al
        7C4C  3C 71             | cmp $0x71,%al
        7C4E  0F 84 80 00       | je 7cd2 <poweroff>
        7C52  3C 72             | cmp $0x72,%al
        7C54  74 19             | je 7c6f <readdisk>
        7C56  3C 77             | cmp $0x77,%al
        7C58  75 28             | jne 7c82 <ok>
        7C5A  BE 01 80          | mov $0x8001,%si
        7C5D  BF 00 82          | mov $0x8200,%di
        copy:
        7C60  AC                | lods %ds:(%si),%al
        7C61  AA                | stos %al,%es:(%di)
        7C62  84 C0             | test %al,%al
        7C64  75 FA             | jne 7c60 <copy>
        7C66  B4 43             | mov $0x43,%ah
        7C68  E8 27 00          | call 7c92 <disk>
        7C6B  72 1D             | jb 7c8a <fail>
        7C6D  EB 13             | jmp 7c82 <ok>
        readdisk:
        7C6F  B4 42             | mov $0x42,%ah
        7C71  E8 1E 00          | call 7c92 <disk>
        7C74  72 14             | jb 7c8a <fail>
        7C76  BE F1 7C          | mov $0x7cf1,%si
        7C79  E8 22 00          | call 7c9e <puts>
        7C7C  BE 00 82          | mov $0x8200,%si
        7C7F  E8 1C 00          | call 7c9e <puts>
        ok:
        7C82  BE E9 7C          | mov $0x7ce9,%si
        7C85  E8 16 00          | call 7c9e <puts>
        7C88  EB A2             | jmp 7c2c <prompt>
        fail:
        7C8A  BE F8 7C          | mov $0x7cf8,%si
        7C8D  E8 0E 00          | call 7c9e <puts>
        7C90  EB F0             | jmp 7c82 <ok>
        disk:
        7C92  BE 00 7D          | mov $0x7d00,%si
        7C95  8A 16 10 7D       | mov 0x7d10,%dl
        7C99  30 C0             | xor %al,%al
        7C9B  CD 13             | int $0x13
        7C9D  C3                | ret
        puts:
        7C9E  AC                | lods %ds:(%si),%al
        7C9F  84 C0             | test %al,%al
        7CA1  74 05             | je 7ca8 <puts+0xa>
        7CA3  E8 03 00          | call 7ca9 <putc>
        7CA6  EB F6             | jmp 7c9e <puts>
        7CA8  C3                | ret
        putc:
        7CA9  50                | push %ax
        7CAA  BA FD 03          | mov $0x3fd,%dx
        7CAD  EC                | in (%dx),%al
        7CAE  A8 20             | test $0x20,%al
        7CB0  74 FB             | je 7cad <putc+0x4>
        7CB2  58                | pop %ax
        7CB3  BA F8 03          | mov $0x3f8,%dx
        7CB6  EE                | out %al,(%dx)
        7CB7  C3                | ret
        getc:
        7CB8  8B 16 11 7D       | mov 0x7d11,%dx
        7CBC  ED                | in (%dx),%ax
        7CBD  F6 C4 01          | test $0x1,%ah
        7CC0  75 10             | jne 7cd2 <poweroff>
        7CC2  BA FD 03          | mov $0x3fd,%dx
        7CC5  EC                | in (%dx),%al
        7CC6  A8 01             | test $0x1,%al
        7CC8  75 03             | jne 7ccd <getc+0x15>
        7CCA  F4                | hlt
        7CCB  EB EB             | jmp 7cb8 <getc>
        7CCD  BA F8 03          | mov $0x3f8,%dx
        7CD0  EC                | in (%dx),%al
        7CD1  C3                | ret
        poweroff:
        7CD2  8B 16 11 7D       | mov 0x7d11,%dx
        7CD6  83 C2 04          | add $0x4,%dx
        7CD9  B8 00 20          | mov $0x2000,%ax
        7CDC  EF                | out %ax,(%dx)
        7CDD  FA                | cli
        7CDE  F4                | hlt
        banner:
        7CDF  0D 0A 6C 6F 67 69 6E 3A 20 00 | \r\nlogin: \0
        done:
        7CE9  0D 0A 23 20 00 | \r\n# \0
        newline:
        7CEE  0D 0A 00 | \r\n\0
        text:
        7CF1  64 69 73 6B 3A 20 00 | disk: \0
        error:
        7CF8  65 72 72 6F 72 00 66 90 | error\0f.
        packet:
        7D00  10 00 01 00 00 82 00 00 01 00 00 00 00 00 00 00 | int 13h packet: 16 bytes, 1 sector, to 0000:8200, from LBA 1
        drive:
        7D10  00 | BIOS drive number
        pmbase:
        7D11  00 00 | ACPI I/O base
        """#
}
