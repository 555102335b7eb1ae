package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A bill says what a program is made of, as CycloneDX 1.6 has it (https://cyclonedx.org/docs/1.6/json/).
type bill struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	URL        string     `json:"purl"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// writeBill writes what a program says of itself: Go has put in which modules it was built of, and with which settings.
func writeBill(file, program, version string, at time.Time) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	sum := sha256.Sum256(content)
	main := moduleOf(&debug.Module{Path: info.Main.Path, Version: version})
	main.Type, main.Name = "application", filepath.Base(program)
	main.Hashes = []hash{{"SHA-256", fmt.Sprintf("%x", sum)}}
	for _, s := range info.Settings {
		if s.Key != "-ldflags" { // they have the version, which is told
			main.Properties = append(main.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	// The library of Go has vulnerabilities of its own, under this name.
	std := moduleOf(&debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")})
	components := []component{std}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		components = append(components, moduleOf(m))
	}
	slices.SortFunc(components, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	all := dependency{Ref: main.Ref}
	for _, c := range components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	text, err := json.MarshalIndent(bill{
		Format: "CycloneDX", Spec: "1.6", Version: 1,
		Serial:       "urn:uuid:" + uuidOf(sum),
		Metadata:     metadata{at.Format(time.RFC3339), main},
		Components:   components,
		Dependencies: []dependency{all},
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(file, append(text, '\n'))
}

// uuidOf is the UUID (version 8) of a program: the same program has the same one.
func uuidOf(sum [sha256.Size]byte) string {
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// moduleOf is a module of Go, with the checksum that go.sum has of it.
func moduleOf(m *debug.Module) component {
	url := "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	c := component{Type: "library", Ref: url, Name: m.Path, Version: m.Version, URL: url}
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}
