package scale

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// store is what makes a thousand devices fit into memory: large files of the same content are one file. Steps write files
// anew and never in place, so that no device can change another's.
type store struct {
	dir string
	mu  sync.Mutex
}

// large is where it begins to pay, in bytes.
const large = 32 << 10

// share looks for large files below a directory that are not shared yet.
func (s *store) share(dir string) {
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // it may go away meanwhile
		}
		info, err := e.Info()
		if err == nil && info.Size() >= large && info.Sys().(*syscall.Stat_t).Nlink == 1 && name[len(name)-1] != '~' {
			if err := s.link(name, info); err != nil && !os.IsNotExist(err) {
				fmt.Fprintln(os.Stderr, "store:", err)
			}
		}
		return nil
	})
}

// link puts the store's file in place of the one of this name, which becomes the store's if there is none.
func (s *store) link(name string, info fs.FileInfo) error {
	sum, err := digest(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	at := filepath.Join(s.dir, fmt.Sprintf("%s-%o", sum, info.Mode().Perm()))
	if err := os.Link(name, at); err == nil || !os.IsExist(err) {
		return err
	}
	now, err := os.Stat(name)
	if err != nil || !os.SameFile(now, info) || now.Size() != info.Size() {
		return err // it was replaced meanwhile
	}
	if err := os.Link(at, name+"~"); err != nil {
		return err
	}
	return os.Rename(name+"~", name)
}

func digest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
