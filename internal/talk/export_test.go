package talk

var (
	PauseBefore  = pauseBefore
	Unescape     = unescape
	ParseCommand = parseCommand
)
