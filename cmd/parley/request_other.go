//go:build !unix

package main

// onRequest does nothing: this system has no signal for it.
func onRequest(func()) (stop func()) { return func() {} }
