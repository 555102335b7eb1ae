//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// onRequest calls f at each SIGUSR1, until stop is called. Nothing else waits for that.
func onRequest(f func()) (stop func()) {
	requests, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(requests, syscall.SIGUSR1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-requests:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(requests)
		close(done)
		<-ended
	}
}
