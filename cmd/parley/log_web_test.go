package main

import (
	"testing"
)

func TestLookAtJournals(t *testing.T) {
	browser := startBrowser(t)
	b := openTab(t, browser, 1280, 900, "http://127.0.0.1:17080/")
	b.until(isLive)
	b.until(`document.querySelector('#sum-progress').textContent === '' && document.querySelector('#sum-count').textContent !== '–'`)
	b.picture("x1", "light")
	eval[any](b, `location.hash = 'view=stats'`)
	b.picture("x2", "light")
	eval[any](b, `location.hash = 'view=stats&by=session'`)
	b.until(`document.querySelector('#sum-progress').textContent === ''`)
	b.picture("x3", "dark")
	eval[any](b, `location.hash = 'open=0.3204'`)
	b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
	b.picture("x4", "light")
	n := openTab(t, browser, 360, 1200, "http://127.0.0.1:17080/#text=hello")
	n.until(`document.querySelectorAll('#rows > li').length > 1`)
	n.picture("x5", "dark")
	b.fine("http://127.0.0.1:17080/")
	n.fine("http://127.0.0.1:17080/")
}
