package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// prepared is a flashable image: this step's own work, done elsewhere.
type prepared struct {
	input
	reader *flashimage.Reader
}

// readIndex reads the index that was named, or the one beside a gzip file, "x.index.json" of "x.gz". It is nil if there is
// none of this file.
func (j job) readIndex(r host.Reader, in input) *schema.ImageIndex {
	name := j.want.Index
	if name == "" {
		name = strings.TrimSuffix(in.name, ".gz") + strings.TrimPrefix(indexName, "image")
	}
	f, err := r.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := schema.ReadAll(f, name)
	if err != nil {
		return nil
	}
	index := &schema.ImageIndex{}
	if schema.Decode(data, name, "image-index", index) != nil || index.GzipSize != in.size {
		return nil
	}
	return index
}

func newPrepared(in input, index *schema.ImageIndex) (source, error) {
	reader, err := flashimage.NewReader(in.f, index)
	if err != nil {
		return nil, steps.WithHint(fmt.Errorf("%s: %w", in.name, err), "remove its index and run this again")
	}
	return prepared{input: in, reader: reader}, nil
}

func (s prepared) format() string                   { return "flashable" }
func (s prepared) rawSize() int64                   { return s.reader.Index().RawSize }
func (s prepared) packedSize() int64                { return s.size }
func (s prepared) view(context.Context) io.ReaderAt { return s.reader.View() }

// pack copies the file, if p.w is not nil, after it was verified.
func (s prepared) pack(ctx context.Context, p packing) (*schema.ImageIndex, error) {
	index := s.reader.Index()
	progress := func(raw int64) { p.options.Progress(raw) }
	if err := s.reader.VerifyAll(ctx, p.options.Workers, progress); err != nil {
		return nil, steps.WithHint(fmt.Errorf("%s: %w", s.name, err), "copy the image and its index again, or remove the index to have the image made anew")
	}
	sum := sha256.New()
	if _, err := io.Copy(p.w, s.section(ctx, 0, s.size, io.MultiWriter(p.tee, sum))); err != nil {
		return nil, fmt.Errorf("copy %s: %w", s.name, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != index.GzipSHA256 {
		return nil, fmt.Errorf("%s changed while it was read: SHA-256 was %s, is %s", s.name, index.GzipSHA256, got)
	}
	return index, nil
}
