// Package shape says what messages have in common that differ in a number, an id or a time.
//
//	shape.Append(nil, []byte("GET /orders/17?at=08:15:00")) // GET /orders/{n}?at={time}
package shape

const (
	number = "{n}"
	id     = "{id}"
	time   = "{time}"
)

// Append appends the shape of a message to dst: the message with
//
//   - {n} for each number, with its sign and what follows a point (-1.5, 10.0.0.1, 1e6, 0x1f),
//     also within a word (user17);
//   - {id} for a UUID, and for a word of 8 or more hexadecimal digits that has a letter and a digit;
//   - {time} for a date (2026-11-24), a time of day with seconds (08:15:00.25), both as RFC 3339
//     has them, and a date as HTTP and mail have it.
//
// All else is as it was, whatever bytes these are. No decimal digit is left, so the shape of a
// shape is itself; it has at most twice as many bytes as the message, and one.
func Append(dst, message []byte) []byte {
	kept := 0 // up to here the message is in dst
	replace := func(from, to int, by string) {
		dst = append(append(dst, message[kept:from]...), by...)
		kept = to
	}
	for i := 0; i < len(message); {
		if !isWord(message[i]) {
			i++
			continue
		}
		w := wordAt(message, i)
		if end := dated(message, i, w); end > 0 {
			replace(i, end, time)
			i = end
			continue
		}
		if end := identified(message, i, w); end > 0 {
			replace(i, end, id)
			i = end
			continue
		}
		if !w.digit {
			i = w.end
			continue
		}
		end := w.end
		for at := i; at < end; {
			if !isDigit(message[at]) {
				at++
				continue
			}
			from := at
			if from == i && isSigned(message, from, kept) {
				from--
			}
			at = numbered(message, at, at == i)
			replace(from, at, number)
			end = max(end, at)
		}
		i = end
	}
	return append(dst, message[kept:]...)
}

// A word is letters, digits and what is not ASCII, one behind the other.
type word struct {
	end                int
	digit, letter, hex bool // it has a digit; it has something else; all is hexadecimal
}

func wordAt(message []byte, i int) word {
	var all, common uint8 = 0, isHexDigit
	for ; i < len(message); i++ {
		k := kinds[message[i]]
		if k == 0 {
			break
		}
		all |= k
		common &= k
	}
	return word{i, all&isDecimal != 0, all&isOther != 0, common != 0}
}

const (
	isDecimal  uint8 = 1 << iota // 0 to 9
	isOther                      // of a word, and no decimal digit
	isHexDigit                   // 0 to 9, a to f, A to F
)

var kinds = func() (kinds [256]uint8) {
	for c := range kinds {
		switch {
		case '0' <= c && c <= '9':
			kinds[c] = isDecimal | isHexDigit
		case 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			kinds[c] = isOther | isHexDigit
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c >= 0x80:
			kinds[c] = isOther
		}
	}
	return kinds
}()

func isWord(c byte) bool  { return kinds[c] != 0 }
func isDigit(c byte) bool { return kinds[c]&isDecimal != 0 }

// ends says whether no word goes on at i.
func ends(message []byte, i int) bool { return i >= len(message) || !isWord(message[i]) }

// like says whether the message goes on from i as the pattern does, in which 0 is a decimal digit,
// x a hexadecimal one, a a letter, and all else itself. It is the place behind, or 0.
func like(message []byte, i int, pattern string) int {
	if len(message)-i < len(pattern) {
		return 0
	}
	for n := range len(pattern) {
		c, ok := message[i+n], false
		switch p := pattern[n]; p {
		case '0':
			ok = isDigit(c)
		case 'x':
			ok = kinds[c]&isHexDigit != 0
		case 'a':
			ok = 'a' <= c|0x20 && c|0x20 <= 'z'
		default:
			ok = c == p
		}
		if !ok {
			return 0
		}
	}
	return i + len(pattern)
}

// dated is where a time ends that begins with the word at i; 0 if none does.
func dated(message []byte, i int, w word) int {
	switch w.end - i {
	case 2:
		if w.letter {
			return 0
		}
		return clock(message, i)
	case 3:
		if w.digit {
			return 0
		}
		end := like(message, i, "aaa, 00 aaa 0000 ") // Tue, 24 Nov 2026 08:15:00 GMT
		if end == 0 {
			return 0
		}
		if end = clock(message, end); end == 0 {
			return 0
		}
		for _, zone := range []string{" GMT", " UTC", " +0000", " -0000"} {
			if behind := like(message, end, zone); behind > 0 && ends(message, behind) {
				return behind
			}
		}
		return end
	case 4, 6: // 2026-11-24 and 2026-11-24T08:15:00Z
		end := like(message, i, "0000-00-00")
		if end == 0 {
			return 0
		}
		if end < len(message) && (message[end]|0x20 == 't' || message[end] == ' ') {
			if behind := clock(message, end+1); behind > 0 {
				return zoned(message, behind)
			}
		}
		if ends(message, end) {
			return end
		}
	}
	return 0
}

// clock is where a time of day ends that begins at i; 0 if none does.
func clock(message []byte, i int) int {
	end := like(message, i, "00:00:00")
	if end == 0 {
		return 0
	}
	if end+1 < len(message) && (message[end] == '.' || message[end] == ',') && isDigit(message[end+1]) {
		end = digitsTo(message, end+1)
	}
	if zoned := zoned(message, end); zoned > end {
		return zoned
	}
	if !ends(message, end) {
		return 0
	}
	return end
}

// zoned is behind the zone that a time of day names, if it does.
func zoned(message []byte, end int) int {
	if end < len(message) && message[end]|0x20 == 'z' && ends(message, end+1) {
		return end + 1
	}
	for _, zone := range []string{"+00:00", "-00:00"} {
		if behind := like(message, end, zone); behind > 0 && ends(message, behind) {
			return behind
		}
	}
	return end
}

// identified is where an id ends that begins with the word at i; 0 if none does.
func identified(message []byte, i int, w word) int {
	const least = 8
	if !w.hex || w.end-i < least {
		return 0
	}
	if w.end-i == least {
		if end := like(message, i, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"); end > 0 && ends(message, end) && hasDigit(message[i:end]) {
			return end
		}
	}
	if w.digit && w.letter {
		return w.end
	}
	return 0
}

func hasDigit(text []byte) bool {
	for _, c := range text {
		if isDigit(c) {
			return true
		}
	}
	return false
}

// numbered is where the number ends that begins with the digit at i.
func numbered(message []byte, i int, first bool) int {
	if first && i+2 < len(message) && message[i] == '0' && message[i+1]|0x20 == 'x' && kinds[message[i+2]]&isHexDigit != 0 {
		for i += 2; i < len(message) && kinds[message[i]]&isHexDigit != 0; i++ {
		}
		return i
	}
	i = digitsTo(message, i)
	for i+1 < len(message) && message[i] == '.' && isDigit(message[i+1]) {
		i = digitsTo(message, i+1)
	}
	if i+1 < len(message) && message[i]|0x20 == 'e' {
		exponent := i + 1
		if message[exponent] == '+' || message[exponent] == '-' {
			exponent++
		}
		if exponent < len(message) && isDigit(message[exponent]) {
			return digitsTo(message, exponent)
		}
	}
	return i
}

func digitsTo(message []byte, i int) int {
	for i < len(message) && isDigit(message[i]) {
		i++
	}
	return i
}

// isSigned says whether the number at i has a sign: one behind a word or another sign parts them.
func isSigned(message []byte, i, kept int) bool {
	if i-1 < kept || message[i-1] != '-' && message[i-1] != '+' {
		return false
	}
	if i-1 == 0 {
		return true
	}
	switch before := message[i-2]; before {
	case '-', '+', '_', '.', ')', ']', '}':
		return false
	default:
		return !isWord(before)
	}
}
