package console

import "fmt"

// AppendDump appends p as a hex dump: lines of an offset, bytes and their ASCII, each behind prefix, that
// are no wider than columns of a terminal as far as one byte a line allows; 0 is 16 bytes a line. What is
// beyond 4 KiB is cut, and a last line says so: …(65536 bytes).
//
//	00000000  68 65 6c 6c 6f 0a                                |hello.|
func AppendDump(dst []byte, prefix string, p []byte, columns int) []byte {
	return appendDumpOf(dst, prefix, p, uint64(len(p)), columns)
}

// appendDumpOf is AppendDump for the beginning of what is whole bytes long.
func appendDumpOf(dst []byte, prefix string, p []byte, whole uint64, columns int) []byte {
	perLine := dumpWidth(len(prefix), columns)
	p = p[:min(maxShown, len(p))]
	for at := 0; at < len(p); at += perLine {
		line := p[at:min(at+perLine, len(p))]
		dst = fmt.Appendf(append(dst, prefix...), "%08x ", at)
		for i := range perLine {
			if i%8 == 0 {
				dst = append(dst, ' ')
			}
			if i < len(line) {
				dst = append(dst, hexDigits[line[i]>>4], hexDigits[line[i]&15], ' ')
			} else {
				dst = append(dst, "   "...)
			}
		}
		dst = append(dst, " |"...)
		for _, b := range line {
			if b < ' ' || b > '~' {
				b = '.'
			}
			dst = append(dst, b)
		}
		dst = append(dst, "|\n"...)
	}
	if whole > uint64(len(p)) {
		dst = fmt.Appendf(append(dst, prefix...), "…(%d bytes)\n", whole)
	}
	return dst
}

// dumpWidth is how many bytes stand in a line of a dump: 16, or half of that as long as it is too wide.
func dumpWidth(prefix, columns int) int {
	n := 16
	for columns > 0 && n > 1 && prefix+len("00000000  ")+3*n+n/16+len(" ||")+n > columns {
		n /= 2
	}
	return n
}
