// Release makes what is published of a version, in a directory: an archive for each system, a deb and an rpm
// for Linux, what each program is made of (CycloneDX), and the checksums of all that.
//
//	go run ./scripts/release -version v1.2.3 -time 1795728000
//
// From the same commit, and by the same version of Go, come the same bytes, wherever and whenever they are made:
// all times are the one that is given, which is the commit's.
package main

import (
	"cmp"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A target is a system that there is a program for.
type target struct {
	os, arch   string
	isPackaged bool // as deb and rpm too
}

func (t target) String() string { return t.os + "/" + t.arch }

var targets = []target{
	{"linux", "amd64", true},
	{"linux", "arm64", true},
	{"darwin", "arm64", false},
	{"windows", "amd64", false},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	var r release
	flag.StringVar(&r.version, "version", "", "as git describe has it")
	seconds := flag.Int64("time", 0, "of the commit, in seconds since 1970")
	flag.StringVar(&r.dist, "dist", "dist", "the directory to make it in, which is emptied")
	only := flag.String("only", "", "one system only, such as linux/amd64")
	flag.Parse()
	if r.version == "" || *seconds <= 0 {
		log.Fatal("-version and -time are needed; make release has them of git")
	}
	r.time = time.Unix(*seconds, 0).UTC()
	if err := r.make(*only); err != nil {
		log.Fatal(err)
	}
}

// A release is what all of its parts have in common.
type release struct {
	version string
	time    time.Time
	dist    string
	stage   string // where it is put together
	printer string // the program for this machine, which prints its pages
}

func (r *release) make(only string) (err error) {
	if r.dist, err = filepath.Abs(r.dist); err != nil {
		return err
	}
	if r.stage, err = os.MkdirTemp("", "parley-release-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.stage)
	if err := os.RemoveAll(r.dist); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dist, 0o755); err != nil {
		return err
	}
	printer := filepath.Join(r.stage, "printer")
	if err := r.build(target{os: runtime.GOOS, arch: runtime.GOARCH}, printer); err != nil {
		return err
	}
	r.printer = printer
	for _, t := range targets {
		if only != "" && only != t.String() {
			continue
		}
		if err := r.makeFor(t); err != nil {
			return fmt.Errorf("%v: %w", t, err)
		}
	}
	return r.sum()
}

// makeFor makes all that there is for a system.
func (r *release) makeFor(t target) error {
	name := fmt.Sprintf("parley_%s_%s_%s", plainVersion(r.version), t.os, t.arch)
	program := filepath.Join(r.stage, name, "parley")
	if t.os == "windows" {
		program += ".exe"
	}
	if err := r.build(t, program); err != nil {
		return err
	}
	if err := writeBill(filepath.Join(r.dist, name+".cdx.json"), program, r.version, r.time); err != nil {
		return err
	}
	if err := r.archive(t, name); err != nil {
		return err
	}
	if !t.isPackaged {
		return nil
	}
	return r.packages(t, program)
}

// build makes the program for a system. That for this one is there already, but for the first time.
func (r *release) build(t target, program string) error {
	if r.printer != "" && t.os == runtime.GOOS && t.arch == runtime.GOARCH {
		if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
			return err
		}
		return os.Link(r.printer, program)
	}
	return run("", []string{"GOOS=" + t.os, "GOARCH=" + t.arch}, "make", "--silent", "static", "BINARY="+program, "VERSION="+r.version)
}

// archive packs a program with its pages, its completions and what else somebody wants who unpacks it.
func (r *release) archive(t target, name string) error {
	dir := filepath.Join(r.stage, name)
	copies := []string{"LICENSE", "README.md", "CHANGELOG.md"}
	if t.os == "linux" {
		copies = append(copies, "packaging/parley.conf", "packaging/systemd/parley.socket", "packaging/systemd/parley.service", "packaging/systemd/parley@.service")
	}
	for _, file := range copies {
		if err := copyFile(filepath.Join(dir, strings.TrimPrefix(file, "packaging/")), file); err != nil {
			return err
		}
	}
	if t.os != "windows" { // which has no man
		if err := r.pages(filepath.Join(dir, "man")); err != nil {
			return err
		}
	}
	for shell, file := range map[string]string{"bash": "parley.bash", "zsh": "_parley", "fish": "parley.fish", "powershell": "parley.ps1"} {
		script, err := exec.Command(r.printer, "completion", shell).Output()
		if err == nil {
			err = writeFile(filepath.Join(dir, "completions", file), script)
		}
		if err != nil {
			return err
		}
	}
	if t.os == "windows" {
		return writeZip(filepath.Join(r.dist, name+".zip"), r.stage, name, r.time)
	}
	return writeTar(filepath.Join(r.dist, name+".tar.gz"), r.stage, name, r.time)
}

func (r *release) pages(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return run("", nil, r.printer, "man", dir)
}

// packages makes the deb and the rpm, of what make install installs.
func (r *release) packages(t target, program string) error {
	root := filepath.Join(r.stage, "root-"+t.arch)
	if err := run("", nil, "make", "--silent", "install", "DESTDIR="+root, "PREFIX=/usr", "BINARY="+program, "PRINTER="+r.printer); err != nil {
		return err
	}
	for from, to := range map[string]string{
		"LICENSE": "usr/share/doc/parley/copyright", "CHANGELOG.md": "usr/share/doc/parley/changelog",
		"packaging/scripts/postinstall": "scripts/postinstall", "packaging/scripts/preremove": "scripts/preremove", "packaging/scripts/postremove": "scripts/postremove",
	} {
		if err := copyFile(filepath.Join(root, to), from); err != nil {
			return err
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, "usr/share/man/man1/*.1"))
	if err != nil {
		return err
	}
	for _, file := range append(pages, filepath.Join(root, "usr/share/doc/parley/changelog")) {
		if err := compress(file); err != nil {
			return err
		}
	}
	if err := settle(root, r.time); err != nil {
		return err
	}
	nfpm, err := exec.Command("go", "tool", "-modfile=tools/go.mod", "-n", "nfpm").Output() // where it is, once it is built
	if err != nil {
		return fmt.Errorf("go tool nfpm: %w", err)
	}
	config, err := filepath.Abs("packaging/nfpm.yaml")
	if err != nil {
		return err
	}
	env := []string{"ARCH=" + t.arch, "PACKAGE_VERSION=" + packageVersion(r.version, r.time), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.time.Unix())}
	for _, kind := range []string{"deb", "rpm"} {
		if err := run(root, env, strings.TrimSpace(string(nfpm)), "package", "--config", config, "--packager", kind, "--target", r.dist+"/"); err != nil {
			return err
		}
	}
	return nil
}

// settle gives all below a directory one time, and the modes that it has under any umask.
func settle(dir string, at time.Time) error {
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return cmp.Or(os.Chmod(file, mode), os.Chtimes(file, at, at))
	})
}

// sum writes the checksums of all that is there, as sha256sum -c reads them.
func (r *release) sum() error {
	files, err := os.ReadDir(r.dist)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(r.dist, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), f.Name())
	}
	return writeFile(filepath.Join(r.dist, "SHA256SUMS"), []byte(sums.String()))
}

// plainVersion is a version as names of files have it.
func plainVersion(version string) string { return strings.TrimPrefix(version, "v") }

var described = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(-[a-z][\w.]*)?(?:-(\d+)-g([0-9a-f]+))?(-dirty)?$`)

// packageVersion is what git describe says as packages have it, whose managers sort v1.2.3-rc.1 before v1.2.3,
// and that before v1.2.3-4-gc19fe18. A commit behind no tag is older than all versions, and newer than those before.
func packageVersion(version string, at time.Time) string {
	m := described.FindStringSubmatch(version)
	if m == nil {
		return fmt.Sprintf("0.0.0~%s.%s", at.Format("20060102150405"), strings.Trim(regexp.MustCompile(`[^\w.]+`).ReplaceAllString(version, "."), "."))
	}
	text := m[1]
	if m[2] != "" {
		text += "~" + m[2][1:]
	}
	var behind []string
	if m[3] != "" {
		behind = append(behind, m[3], "g"+m[4])
	}
	if m[5] != "" {
		behind = append(behind, "dirty")
	}
	if len(behind) > 0 {
		text += "+" + strings.Join(behind, ".")
	}
	return text
}

// run runs a command in a directory, this one if it is "", with more variables. What it prints is shown if it fails.
func run(dir string, env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(slices.Concat(env, cmd.Args), " "), err, cmp.Or(strings.TrimSpace(string(out)), "it printed nothing"))
	}
	return nil
}
