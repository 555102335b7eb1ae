package journal

// A Position is how far the records of a journal have been followed: the highest number of each
// kind. Its zero value is the beginning.
type Position struct {
	Exchange int64 // exchanges.id
	Ended    int64 // sessions.ended
	Opened   int64 // sessions.id
	Refused  int64 // refused.id
	Fault    int64 // faults.id
	Gap      int64 // gaps.rowid
}

// numbers are its fields, in the order of the columns that keep one.
func (p *Position) numbers() [6]*int64 {
	return [...]*int64{&p.Exchange, &p.Ended, &p.Opened, &p.Refused, &p.Fault, &p.Gap}
}

const positionColumns = "exchange, ended, opened, refused, fault, gap"

// Covers says whether all that is up to the other position is up to this one.
func (p Position) Covers(other Position) bool {
	mine, others := p.numbers(), other.numbers()
	for i := range mine {
		if *mine[i] < *others[i] {
			return false
		}
	}
	return true
}

// and is the position that covers both.
func (p Position) and(other Position) Position {
	mine, others := p.numbers(), other.numbers()
	for i := range mine {
		*mine[i] = max(*mine[i], *others[i])
	}
	return p
}

func (p Position) array() (numbers [6]int64) {
	for i, n := range p.numbers() {
		numbers[i] = *n
	}
	return numbers
}

func positionOf(numbers [6]int64) (p Position) {
	for i, n := range p.numbers() {
		*n = numbers[i]
	}
	return p
}
