// Package kernel is where the system calls on sockets are made that the engines make themselves, and those on
// files by which a journal is written beside SQLite's own, and what the engines take for a socket of the system. Built with
// the tag simulate these are another: calls go to package simkernel, which makes a network up, and has a disk fail. Without it
// nothing stands in between.
package kernel
