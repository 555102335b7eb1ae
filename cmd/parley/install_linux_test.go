package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const repository = "../.."

// What is published of a version is what it says, and what is installed of it runs as the unit says.
func TestPackages(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		skipOutsideCI(t, "only root can install a package")
	}
	dist := t.TempDir()
	// It compiles as long as that takes.
	making := exec.CommandContext(t.Context(), "go", "run", "./scripts/release", "-version", "v1.2.3", "-time", "1795726566", "-only", "linux/amd64", "-dist", dist)
	making.Dir = repository
	run(t, making, "")
	if t.Failed() {
		t.FailNow()
	}
	named := func(pattern string) string {
		found, _ := filepath.Glob(filepath.Join(dist, pattern))
		if len(found) != 1 {
			t.Fatalf("%d files are called %s", len(found), pattern)
		}
		return found[0]
	}

	sums := command(t, "sha256sum", "--strict", "-c", "SHA256SUMS")
	sums.Dir = dist
	if said := run(t, sums, ""); strings.Count(said, ": OK\n") != 4 {
		t.Errorf("the checksums are of\n%s", said)
	}
	unpacked := t.TempDir()
	run(t, command(t, "tar", "xzf", named("*.tar.gz"), "-C", unpacked, "--strip-components=1"), "")
	bare := filepath.Join(unpacked, "parley")
	if said := run(t, command(t, bare, "version"), ""); !regexp.MustCompile(`^parley v1\.2\.3 \(commit [0-9a-f]{12} of 20\d\d-\d\d-\d\d, go1\.\S+, linux/amd64\)\n$`).MatchString(said) {
		t.Errorf("parley version prints %q", said)
	}
	checkBill(t, named("*.cdx.json"), bare)
	t.Run("deb", func(t *testing.T) { checkDeb(t, named("*.deb")) })
	t.Run("rpm", func(t *testing.T) { checkRPM(t, named("*.rpm"), named("*.deb")) })
	t.Run("image", func(t *testing.T) { checkImage(t, bare) })
}

// checkBill compares what a program is said to be made of with what go says.
func checkBill(t *testing.T, file, program string) {
	t.Helper()
	var bill struct {
		BomFormat  string
		Components []struct{ Name, Version, Purl string }
		Metadata   struct {
			Component struct{ Name, Version string }
		}
	}
	if err := json.Unmarshal(must(os.ReadFile(file)), &bill); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range bill.Components {
		got[c.Name] = c.Version
	}
	want := 1 // Go's own library
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(run(t, command(t, "go", "version", "-m", program), ""), -1) {
		want++
		if got[m[1]] != m[2] {
			t.Errorf("the bill has %s %q, want %s", m[1], got[m[1]], m[2])
		}
	}
	if bill.BomFormat != "CycloneDX" || bill.Metadata.Component.Version != "v1.2.3" || len(got) != want || want < 20 || got["std"] == "" {
		t.Errorf("the bill is %s of %s, with %d components, want %d", bill.BomFormat, bill.Metadata.Component.Version, len(got), want)
	}
}

// A guest is a root directory of its own that packages are installed into. Its systemctl notes what it is asked for.
type guest struct{ root string }

// asked is what systemctl was asked for since the last time.
func (g guest) asked() string {
	file := filepath.Join(g.root, "asked")
	text, _ := os.ReadFile(file)
	os.Remove(file)
	return string(text)
}

// checkAsked looks at what the package's scripts have asked systemctl for.
func (g guest) checkAsked(t *testing.T, when, want string) {
	t.Helper()
	if got := g.asked(); got != want {
		t.Errorf("%s asks systemctl for %q, want %q", when, got, want)
	}
}

const (
	asksToReload  = "daemon-reload\n"
	asksToRestart = "daemon-reload\ntry-restart parley.service parley@*.service\n" // of what does not run nothing comes
	asksToEnd     = "disable --now parley.socket parley.service\nstop parley@*.service\ndaemon-reload\n"
)

// checkDeb installs a deb, runs what it brings, upgrades it, and removes it.
func checkDeb(t *testing.T, deb string) {
	g := makeGuest(t)
	dpkg := func(args ...string) {
		t.Helper()
		run(t, command(t, "dpkg", append([]string{"--root=" + g.root, "--force-depends"}, args...)...), "")
	}
	dpkg("-i", deb)
	g.checkAsked(t, "installing the deb", asksToRestart)
	checkUnits(t, g.root)
	checkPages(t, g.root)
	t.Run("service", func(t *testing.T) { checkService(t, g.root) })
	t.Run("instance", func(t *testing.T) { checkInstance(t, g.root) })
	config := filepath.Join(g.root, "etc/parley/parley.conf")
	os.WriteFile(config, []byte("PARLEY_QUIET=false\n"), 0o644)
	dpkg("-i", deb)
	g.checkAsked(t, "an upgrade of the deb", asksToRestart)
	dpkg("-r", "parley")
	g.checkAsked(t, "removing the deb", asksToEnd)
	if left := filesOfParley(t, g.root); !slices.Equal(left, []string{"etc/parley/parley.conf"}) {
		t.Errorf("removed, it leaves %v", left)
	}
	if text := string(must(os.ReadFile(config))); text != "PARLEY_QUIET=false\n" {
		t.Errorf("the configuration is now %q", text)
	}
	dpkg("-P", "parley")
	if left := filesOfParley(t, g.root); len(left) > 0 {
		t.Errorf("purged, it leaves %v", left)
	}
}

// checkRPM installs an rpm, and compares its files with those of a deb.
func checkRPM(t *testing.T, rpm, deb string) {
	g, other := makeGuest(t), t.TempDir()
	manage := func(args ...string) string {
		t.Helper()
		return run(t, peer(t, "rpm", append([]string{"--root=" + g.root}, args...)...), "")
	}
	manage("-i", "--nodeps", rpm)
	g.checkAsked(t, "installing the rpm", asksToReload)
	run(t, command(t, "dpkg-deb", "-x", deb, other), "")
	if got, want := filesOfParley(t, g.root), filesOfParley(t, other); len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("the rpm has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, file := range filesOfParley(t, other) {
		run(t, command(t, "cmp", filepath.Join(other, file), filepath.Join(g.root, file)), "")
	}
	if said := manage("-q", "parley", "--qf", "%{VERSION}-%{RELEASE} %{ARCH} %{LICENSE} [%{FILENAMES}:%{FILEFLAGS:fflags} ]"); !strings.HasPrefix(said, "1.2.3-1 x86_64 MIT ") || !strings.Contains(said, "/etc/parley/parley.conf:cn ") {
		t.Errorf("rpm says %s", said)
	}
	manage("-V", "parley")
	manage("-U", "--nodeps", "--force", rpm)
	g.checkAsked(t, "an upgrade of the rpm", asksToRestart)
	manage("-e", "parley")
	g.checkAsked(t, "removing the rpm", asksToEnd)
	if left := filesOfParley(t, g.root); len(left) > 0 {
		t.Errorf("removed, it leaves %v", left)
	}
}

// makeGuest makes one with what a package's scripts need, and no more.
func makeGuest(t *testing.T) guest {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"bin", "dev", "run/systemd/system", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/parley", "tmp", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(file string, content []byte) {
		t.Helper()
		file = filepath.Join(root, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, content, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	os.Chown(filepath.Join(root, "var/lib/parley"), nobody, nobody)
	put("var/lib/dpkg/status", nil)
	put("bin/systemctl", []byte("#!/bin/sh\nset -f\necho \"$@\" >>/asked\n"))
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(run(t, command(t, "ldd", "/bin/sh"), ""), -1) {
		put(library, must(os.ReadFile(library)))
	}
	put("bin/sh", must(os.ReadFile("/bin/sh")))
	return guest{root}
}

// nobody is who services run as in these tests: somebody with no rights.
const nobody = 65534

// checkUnits has systemd say whether the units that are installed are right, and expose little.
func checkUnits(t *testing.T, root string) {
	t.Helper()
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"parley.socket", "parley.service", "parley@.service"} {
		text := must(os.ReadFile(filepath.Join(root, "usr/lib/systemd/system", name)))
		units = append(units, filepath.Join(dir, strings.ReplaceAll(name, "@", "@web")))
		text = bytes.ReplaceAll(text, []byte("/usr/bin/parley"), []byte(filepath.Join(root, "usr/bin/parley")))
		if err := os.WriteFile(units[len(units)-1], text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := peer(t, "systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, said)
	}
	for _, unit := range units[1:] {
		if said, err := peer(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", unit).CombinedOutput(); err != nil {
			t.Errorf("systemd-analyze security: %v\n%s", err, said)
		}
	}
}

// checkPages looks at the manual pages and the completions: each command has one, and all is well-formed.
func checkPages(t *testing.T, root string) {
	t.Helper()
	for _, cmd := range everyCommand() {
		page := must(os.ReadFile(filepath.Join(root, "usr/share/man/man1", manName(cmd)+".1.gz")))
		text := run(t, command(t, "gzip", "-dc"), string(page))
		if said, err := func() ([]byte, error) {
			lint := peer(t, "mandoc", "-T", "lint", "-W", "warning")
			lint.Stdin = strings.NewReader(text)
			return lint.CombinedOutput()
		}(); err != nil || len(said) > 0 {
			t.Errorf("the page of %s: %v\n%s", cmd.Name(), err, said)
		}
		render := peer(t, "mandoc", "-T", "ascii", "-O", "width=500")
		shown := regexp.MustCompile(".\b").ReplaceAllString(run(t, render, text), "") // bold is a letter over itself
		for _, s := range sectionsOf(cmd) {
			for _, row := range s.rows {
				if what := strings.TrimSpace(row.what); !strings.Contains(shown, what) {
					t.Errorf("the page of %s has no %s", cmd.Name(), what)
				}
			}
		}
		for _, e := range examplesOf(cmd) {
			if !strings.Contains(shown, e.what) {
				t.Errorf("the page of %s has no example %s", cmd.Name(), e.what)
			}
		}
	}
	for shell, file := range map[string]string{"bash": "bash-completion/completions/parley", "zsh": "zsh/site-functions/_parley", "fish": "fish/vendor_completions.d/parley.fish"} {
		if said, err := peer(t, shell, "-n", filepath.Join(root, "usr/share", file)).CombinedOutput(); err != nil {
			t.Errorf("%s cannot read its completions: %v\n%s", shell, err, said)
		}
	}
}

// A unit of systemd, as far as it says how a command is run.
type unit struct {
	environment []string
	start       []string
}

// readUnit reads a unit and the files that it names, below a root.
func readUnit(t *testing.T, root, name string) (u unit) {
	t.Helper()
	file, instance, _ := strings.Cut(name, "@")
	if instance != "" {
		file += "@"
	}
	instance = strings.TrimSuffix(instance, ".service")
	text := string(must(os.ReadFile(filepath.Join(root, "usr/lib/systemd/system", strings.TrimSuffix(file, ".service")+".service"))))
	text = strings.NewReplacer("%i", instance, "%S", "/var/lib").Replace(text)
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "Environment":
			u.environment = append(u.environment, strings.Fields(value)...)
		case "EnvironmentFile":
			for line := range strings.Lines(string(must(os.ReadFile(filepath.Join(root, strings.TrimPrefix(value, "-")))))) {
				if key, value, isSet := strings.Cut(strings.TrimSpace(line), "="); isSet && !strings.HasPrefix(key, "#") {
					values["$"+key] = strings.Trim(value, `"`)
					u.environment = append(u.environment, key+"="+values["$"+key])
				}
			}
		case "ExecStart":
			for _, word := range strings.Fields(value) {
				if text, isVariable := values[word]; isVariable {
					u.start = append(u.start, shellWords(text)...)
				} else {
					u.start = append(u.start, word)
				}
			}
		}
	}
	return u
}

// startUnit runs a unit's command in its root as nobody, with its variables only and, if it has a socket, with that.
// The service manager is told that it is ready.
func startUnit(t *testing.T, root string, u unit, socket string) (p *process, told func(want string)) {
	t.Helper()
	notify := filepath.Join(root, "run/notify")
	os.Remove(notify)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	os.Chmod(notify, 0o777)
	words := append([]string{"chroot", fmt.Sprintf("--userspec=%d:%d", nobody, nobody), root}, u.start...)
	environment := append(u.environment, "NOTIFY_SOCKET=/run/notify")
	var cmd *exec.Cmd
	if socket != "" {
		args := []string{"-l", socket, "--fdname=plain"}
		for _, e := range environment {
			args = append(args, "-E", e)
		}
		cmd = peer(t, "systemd-socket-activate", append(args, words...)...)
	} else {
		cmd = command(t, words[0], words[1:]...)
		cmd.Env = environment
	}
	p = start(t, cmd)
	return p, func(want string) {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 4096)
		for {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("the manager is not told %s: %v\n%s%s", want, err, p.stdout, p.stderr)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
}

// checkService runs the service behind its socket, with a journal.
func checkService(t *testing.T, root string) {
	config := filepath.Join(root, "etc/parley/parley.conf")
	shown := string(must(os.ReadFile(config)))
	os.WriteFile(config, []byte(regexp.MustCompile(`(?m)^#(PARLEY_)`).ReplaceAllString(shown, "$1")), 0o644) // all that it proposes
	defer os.WriteFile(config, []byte(shown), 0o644)
	u := readUnit(t, root, "parley.service")
	socket := "127.0.0.1:" + freePort(t)
	p, told := startUnit(t, root, u, socket)
	p.stderr.await(t, "Listening on ")
	client := connect(t, socket) // before there is a server
	told("READY=1")
	p.Process.Signal(syscall.SIGHUP)
	told("RELOADING=1")
	told("READY=1")
	io.WriteString(client, "hello\n")
	client.CloseWrite()
	if got := string(must(io.ReadAll(client))); got != "Request #1 - hello ...\n" {
		t.Errorf("it answers %q", got)
	}
	p.Process.Signal(syscall.SIGTERM)
	told("STOPPING=1")
	if code := p.exit(t); code != 0 || !strings.Contains(p.stdout.String(), "incoming data [5]: hello") {
		t.Errorf("exit code %d\n%s%s", code, p.stdout, p.stderr)
	}
	if kept := run(t, program(t, "log", filepath.Join(root, "var/lib/parley/parley.journal")), ""); !strings.Contains(kept, "hello") {
		t.Errorf("its journal has %q", kept)
	}
}

// checkInstance runs a tap as an instance of the unit for any command.
func checkInstance(t *testing.T, root string) {
	upstream := startServer(t, "-q")
	listen := "127.0.0.1:" + freePort(t)
	config := filepath.Join(root, "etc/parley/web.conf")
	os.WriteFile(config, []byte("COMMAND=\"tap "+listen+" "+upstream.addr+" --redact 'se cret=>***'\"\nPARLEY_QUIET=false\n"), 0o600)
	defer os.Remove(config)
	p, told := startUnit(t, root, readUnit(t, root, "parley@web.service"), "")
	told("READY=1")
	if got := converse(t, listen, "a se cret\n"); got != "Request #1 - a se cret ...\n" {
		t.Errorf("through it comes %q", got)
	}
	p.stdout.await(t, "Tap: client [9]: a ***\n")
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

// filesOfParley are the files in a root that a package of parley has put there.
func filesOfParley(t *testing.T, root string) (files []string) {
	t.Helper()
	filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(file, root+"/")
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "var" || name == "run"):
			return fs.SkipDir
		case !d.IsDir() && strings.Contains(name, "parley"):
			files = append(files, name)
		}
		return nil
	})
	return files
}

// checkImage builds the image of the Dockerfile around a program, which is all of it that there is to run, and
// runs that as the image says.
func checkImage(t *testing.T, bare string) {
	work := t.TempDir()
	built := filepath.Join(work, "built") // what the first stage, which compiles, leaves for the second
	for file, content := range map[string][]byte{"image/parley": must(os.ReadFile(bare)), "image/state/.keep": nil, "etc/ssl/certs/ca-certificates.crt": []byte("none")} {
		os.MkdirAll(filepath.Join(built, filepath.Dir(file)), 0o755)
		if err := os.WriteFile(filepath.Join(built, file), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	buildah := func(args ...string) string {
		t.Helper()
		places := []string{"--storage-driver", "vfs", "--root", filepath.Join(work, "store"), "--runroot", filepath.Join(work, "run")}
		return strings.TrimSpace(run(t, peer(t, "buildah", append(places, args...)...), ""))
	}
	buildah("bud", "-q", "--format", "docker", "--isolation", "chroot", "--build-context", "build="+built, "--build-arg", "VERSION=v1.2.3", "-t", "parley", repository)
	container := buildah("from", "--pull-never", "localhost/parley")
	root := buildah("mount", container)
	var image struct {
		Docker struct {
			Config struct {
				User            string
				Entrypoint, Cmd []string
				Healthcheck     struct{ Test []string }
				Labels          map[string]string
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(buildah("inspect", "--type", "image", "localhost/parley")), &image); err != nil {
		t.Fatal(err)
	}
	config := image.Docker.Config
	if config.User != "65532:65532" || len(config.Healthcheck.Test) < 2 || config.Healthcheck.Test[0] != "CMD" || config.Labels["org.opencontainers.image.version"] != "v1.2.3" {
		t.Fatalf("the image says %+v", config)
	}
	if info := must(os.Stat(filepath.Join(root, "var/lib/parley"))); info.Sys().(*syscall.Stat_t).Uid != 65532 {
		t.Error("the directory for journals is somebody else's")
	}
	archive := filepath.Join(work, "image.tar")
	buildah("push", "-q", "localhost/parley", "oci-archive:"+archive)
	if size := must(os.Stat(archive)).Size(); size > 20e6 {
		t.Errorf("compressed as in a registry it has %d bytes, 20 MB are the most", size)
	}

	// The port of the image may be taken here: the same in a network of its own.
	inside := func(words ...string) *exec.Cmd {
		return command(t, "chroot", append([]string{"--userspec=65532:65532", root}, words...)...)
	}
	shell := command(t, "unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat")
	hold, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	network := start(t, shell)
	network.stdout.await(t, "ready")
	within := func(cmd *exec.Cmd) *exec.Cmd {
		return command(t, "nsenter", append([]string{"--net", "--target", fmt.Sprint(network.Process.Pid)}, cmd.Args...)...)
	}
	p := start(t, within(inside(append(config.Entrypoint, config.Cmd...)...)))
	p.stdout.await(t, "Server: started on port 6969\n")
	health := config.Healthcheck.Test[1:]
	run(t, within(inside(health...)), "")
	run(t, within(inside("/parley", "check", "-q", "127.0.0.1:6969", "hello", "--expect", "^Request #[0-9]+ - hello ")), "")
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
	if err := within(inside(health...)).Run(); err == nil {
		t.Error("a server that is gone is healthy")
	}
}
