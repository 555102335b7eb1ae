// Package kernel is where the system calls on sockets are made that the engines make themselves, and what
// they take for a socket of the system. Built with the tag simulate these are another: calls go to package
// simkernel, which makes a network up. Without it nothing stands in between.
package kernel
