// Package simulation has servers talk to peers that do what they should not, over a kernel that is made up,
// by histories that a seed makes: see docs/searching.md. It is tests alone, for Linux, with the tag simulate.
package simulation
