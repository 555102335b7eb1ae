package dialogue

// notes are what a file has beside its statements, by the statement that follows.
type notes map[place][]string

// A place is where a statement stands.
type place struct {
	step int  // len(Steps) for the end of the file
	part part // of the step
}

// A part is one of what a step, or the head of the file, is made of.
type part uint8

const (
	ofHead part = iota // the framing; its step is 0
	ofStep
	ofExample
)
