//go:build unix

package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The page of each command that has one speaks TLS, goes by the names of its certificate, reads that again
// at a hangup, and tells who speaks plain HTTP to it.
func TestPagesSpeakTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key, kept := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "journal")
	writeBoth(t, cert, key, "one.example")
	behind := startServer(t, "--journal", kept)
	converse(t, behind.addr, "hello\n")
	flags := []string{"--web", "127.0.0.1:0", "--web-tls-cert", cert, "--web-tls-key", key, "--web-token", "sixteen-letters!"}
	pages := map[string]*process{
		"server": startServer(t, flags...).process,
		"tap":    startTap(t, behind.addr, flags...).process,
		"demo":   start(t, program(t, append([]string{"demo"}, strings.Join(flags[:2], "="), flags[2], flags[3], flags[4], flags[5], flags[6], flags[7])...)),
		"log":    start(t, program(t, append([]string{"log", kept}, flags...)...)),
	}
	addrs := make(map[string]string)
	for name, p := range pages {
		p.stderr.await(t, "/\n")
		_, rest, _ := strings.Cut(p.stderr.String(), " at https://")
		addrs[name], _, _ = strings.Cut(rest, "/\n")
	}
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	ask := func(addr, host string) *http.Response {
		r := must(http.NewRequest("GET", "https://"+addr+"/?token=sixteen-letters!", nil))
		r.Host = host
		answer, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer
	}
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) {
			for host, code := range map[string]int{addr: 200, "one.example": 200, "two.example": 421} {
				answer := ask(addr, host)
				if answer.StatusCode != code {
					t.Errorf("asked for by %s it answers %d, want %d", host, answer.StatusCode, code)
				}
				if c := answer.Cookies(); code == 200 && (len(c) != 1 || !c[0].Secure) {
					t.Errorf("the cookies are %v", c)
				}
			}
			plain := must(http.Get("http://" + addr + "/"))
			defer plain.Body.Close()
			if text := string(must(io.ReadAll(plain.Body))); plain.StatusCode != 400 || text != "Client sent an HTTP request to an HTTPS server.\n" {
				t.Errorf("plain HTTP is answered %d, %q", plain.StatusCode, text)
			}
		})
	}
	writeBoth(t, cert, key, "two.example")
	for name, p := range pages {
		t.Run(name+" reloads", func(t *testing.T) {
			p.Process.Signal(syscall.SIGHUP)
			p.stderr.await(t, "page: TLS: reloaded, certificate for two.example, ")
			if _, subject := connectTLS(t, addrs[name]); subject != "two.example" {
				t.Errorf("its certificate is that of %s", subject)
			}
			if answer := ask(addrs[name], "two.example"); answer.StatusCode != 200 {
				t.Errorf("by its new name it answers %d", answer.StatusCode)
			}
			if code := p.stop(t, os.Interrupt); code != 0 {
				t.Errorf("exit code %d; %s", code, p.stderr)
			}
		})
	}
}
