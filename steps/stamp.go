package steps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"syscall"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Look returns what stat(2) says of a file, without a digest.
func Look(r host.Reader, name string) (schema.FileStamp, error) {
	info, err := r.Stat(name)
	if err != nil {
		return schema.FileStamp{}, err
	}
	if !info.Mode().IsRegular() {
		return schema.FileStamp{}, fmt.Errorf("%s: found %s, expected a regular file", name, info.Mode().Type())
	}
	s := schema.FileStamp{Path: name, Size: info.Size(), MtimeNS: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Inode = st.Ino
	}
	return s, nil
}

// Digest reads a file whole and returns its stamp with the digest.
func Digest(ctx context.Context, r host.Reader, name string) (schema.FileStamp, error) {
	s, err := Look(r, name)
	if err != nil {
		return s, err
	}
	f, err := r.Open(name)
	if err != nil {
		return s, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, Interruptible(ctx, f)); err != nil {
		return s, fmt.Errorf("read %s: %w", name, err)
	}
	s.SHA256 = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

// Fresh says whether every file of the stamp still looks as it did, and the recipe is the same. A nil stamp is not.
func Fresh(r host.Reader, s *schema.Stamp, recipe string) bool {
	if s == nil || s.Recipe != recipe {
		return false
	}
	for _, f := range s.Files {
		now, err := Look(r, f.Path)
		now.SHA256 = f.SHA256
		if err != nil || now != f {
			return false
		}
	}
	return true
}

// LoadStamp reads a stamp; a missing or damaged one is nil, for then the truth is found out again.
func LoadStamp(r host.Reader, name string) *schema.Stamp {
	data, err := r.ReadFile(name)
	if err != nil {
		return nil
	}
	s := &schema.Stamp{}
	if schema.Decode(data, name, "stamp", s) != nil {
		return nil
	}
	return s
}

// SaveStamp writes a stamp. It must be the last thing that a change does.
func SaveStamp(h host.Host, name string, s *schema.Stamp) error {
	s.Schema = schema.StampName
	data, err := schema.Encode(s)
	if err != nil {
		return err
	}
	return h.WriteFile(name, data, 0o600)
}

// SaveMoved saves a stamp after one of its files was replaced by a copy of the same content.
func SaveMoved(h host.Host, name string, s *schema.Stamp, file string) error {
	for i, f := range s.Files {
		if f.Path != file {
			continue
		}
		now, err := Look(h, file)
		if err != nil {
			return err
		}
		now.SHA256 = f.SHA256
		s.Files[i] = now
	}
	return SaveStamp(h, name, s)
}

// Interruptible is r until ctx ends.
func Interruptible(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
