package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// An entry is a file in an archive: all there is of it beside its content is its name, and whether it can be run.
type entry struct {
	name string // with slashes
	file string
	mode fs.FileMode
	size int64
}

// entriesOf are the files below root/dir, in the order of their names.
func entriesOf(root, dir string) (entries []entry, err error) {
	err = filepath.WalkDir(filepath.Join(root, dir), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		entries = append(entries, entry{filepath.ToSlash(name), file, mode, info.Size()})
		return nil
	})
	return entries, err
}

// writeTar packs root/dir, owned by root, with one time for all.
func writeTar(archive, root, dir string, at time.Time) error {
	entries, err := entriesOf(root, dir)
	if err != nil {
		return err
	}
	return writing(archive, func(w io.Writer) error {
		squeezed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		packed := tar.NewWriter(squeezed)
		for _, e := range entries {
			header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: int64(e.mode), Size: e.size, ModTime: at, Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
			if err := packed.WriteHeader(header); err != nil {
				return err
			}
			if err := copyTo(packed, e.file); err != nil {
				return err
			}
		}
		return errors.Join(packed.Close(), squeezed.Close())
	})
}

// writeZip is writeTar for who has Windows.
func writeZip(archive, root, dir string, at time.Time) error {
	entries, err := entriesOf(root, dir)
	if err != nil {
		return err
	}
	return writing(archive, func(w io.Writer) error {
		packed := zip.NewWriter(w)
		for _, e := range entries {
			header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at}
			header.SetMode(e.mode)
			in, err := packed.CreateHeader(header)
			if err != nil {
				return err
			}
			if err := copyTo(in, e.file); err != nil {
				return err
			}
		}
		return packed.Close()
	})
}

// compress replaces a file by file.gz, which has neither its name nor its time.
func compress(file string) error {
	err := writing(file+".gz", func(w io.Writer) error {
		squeezed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		return errors.Join(copyTo(squeezed, file), squeezed.Close())
	})
	return errors.Join(err, os.Remove(file))
}

func copyTo(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeFile(to, content)
}

// writeFile writes a file that all may read, and the directories on its way.
func writeFile(file string, content []byte) error {
	return writing(file, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// writing makes a file that all may read, whatever the umask is, and the directories on its way.
func writing(file string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Chmod(0o644), f.Close())
}
