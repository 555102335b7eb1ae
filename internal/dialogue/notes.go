package dialogue

// notes are what a file has beside its steps, by the step that follows: len(Steps) for the end.
type notes map[int][]string
