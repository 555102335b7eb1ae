// Package kernel is where the system calls on sockets are made that the engines make themselves, and those on
// files by which a journal is written beside SQLite's own, what the engines take for a socket of the system, and what the time is. Built with
// the tag simulate these are another: calls go to package simkernel, which makes a network up, has a disk fail and a wall
// clock step. Without it nothing stands in between.
package kernel
