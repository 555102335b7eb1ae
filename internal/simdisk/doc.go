// Package simdisk stands between SQLite and the files of a directory: what is done to them is noted, and fails
// where that is asked for. It is for tests, on Linux.
package simdisk
