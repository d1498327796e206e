// Package flashimage is the format in which an image lies ready to be flashed: one gzip file that any gzip can read,
// made of independent members, and a [schema.ImageIndex] that says where each is and what it holds.
//
// Each member holds one chunk of the raw image, so chunks are packed and unpacked in parallel, checked on their own,
// and written again on their own. [Encode] makes an image, [Reader] reads and verifies it.
//
// # The format, version 1
//
// The image file is a sequence of gzip members (RFC 1952) without anything between or behind them, so "gzip -dc" gives
// the raw image. Member i holds the raw bytes from i times chunk_size up to the next, and only the last may hold fewer;
// chunk_size is a multiple of 4096 up to 16 MiB, and 1 MiB unless asked for otherwise. Members refer to nothing outside
// themselves and have no name, time or other optional field in their header; all full chunks of zeros are packed to the
// same bytes. A member is at most chunk_size + chunk_size/1024 + 128 bytes long, which bounds a reader's memory.
//
// Beside "x.gz" lies "x.index.json", an image-index/1 (schema/image-index.json): raw_size and raw_sha256 of the whole
// raw image, gzip_size and gzip_sha256 of the whole file, and for each member its offset and length in the file and
// either zero (every raw byte is 0) or sha256 of its raw chunk. Members are in order and without gaps from 0 to
// gzip_size. A reader must refuse an index that is not so ([schema.ImageIndex.Validate]), and a chunk that does not have
// its digest or is not zero. Within version 1 only optional members are added to the index.
//
// A member that is damaged is a [ChunkError], which names the chunk, its place in the raw image and in the file, and
// what is wrong; the other chunks can still be read. A file whose members are good while the whole is not what the index
// says is a [FileError].
package flashimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/balena-community/balena-migrate/schema"
)

// DefaultChunkSize is what a chunk has raw: large enough for gzip, small enough to be held many times in memory.
const DefaultChunkSize = 1 << 20

// DefaultLevel is the gzip level if none is given.
const DefaultLevel = 6

// ErrEmpty is an image without a single byte.
var ErrEmpty = errors.New("image is empty")

// ErrMachine is a chunk that did not unpack to what had been packed.
var ErrMachine = errors.New("memory or processor of this machine is faulty")

// Options are for Encode. The zero value is good.
type Options struct {
	// ChunkSize is in bytes, a multiple of schema.MinChunkSize; 0 is DefaultChunkSize.
	ChunkSize int
	// Workers is how many chunks are packed at once; 0 is one for each processor. It doesn't change the output.
	Workers int
	// Level is gzip's, 1 (fast) to 9 (small); 0 is DefaultLevel.
	Level int
	// Progress is told, one call at a time, how many raw bytes are done.
	Progress func(raw int64)
}

func (o Options) withDefaults() (Options, error) {
	if o.ChunkSize == 0 {
		o.ChunkSize = DefaultChunkSize
	}
	if o.Level == 0 {
		o.Level = DefaultLevel
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	if o.ChunkSize < schema.MinChunkSize || o.ChunkSize > schema.MaxChunkSize || o.ChunkSize%schema.MinChunkSize != 0 {
		return o, fmt.Errorf("chunk size %d, want a multiple of %d up to %d", o.ChunkSize, schema.MinChunkSize, schema.MaxChunkSize)
	}
	if o.Level < gzip.BestSpeed || o.Level > gzip.BestCompression {
		return o, fmt.Errorf("gzip level %d, want 1 to 9", o.Level)
	}
	return o, nil
}

// Encode reads a raw image from r to its end, writes the flashable image to w and returns its index. Every member is
// unpacked again and compared before it is written: bad memory in a device must not make a bad image.
// What was written when an error comes back is of no use. The same raw bytes, chunk size and level give the same file.
// Encode returns only after the Read or Write that is under way.
func Encode(ctx context.Context, w io.Writer, r io.Reader, opts Options) (*schema.ImageIndex, error) {
	return encode(ctx, w, r, opts, deflate)
}

// compressor packs raw as one member behind what is in dst.
type compressor func(gz *gzip.Writer, dst *bytes.Buffer, raw []byte) error

func deflate(gz *gzip.Writer, dst *bytes.Buffer, raw []byte) error {
	gz.Reset(dst)
	if _, err := gz.Write(raw); err != nil {
		return err
	}
	return gz.Close()
}

func encode(ctx context.Context, w io.Writer, r io.Reader, opts Options, pack compressor) (*schema.ImageIndex, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &encoder{w: w, r: r, opts: opts, pack: pack, rawSum: sha256.New(), gzSum: sha256.New()}
	e.index = schema.ImageIndex{Schema: schema.ImageIndexName, ChunkSize: int64(opts.ChunkSize)}
	if err := e.makeZeroMember(); err != nil {
		return nil, err
	}
	p := pipeline[chunkJob]{feed: e.feed, worker: e.worker, sink: e.sink}
	if err := p.run(ctx, opts.Workers); err != nil {
		return nil, err
	}
	if len(e.index.Members) == 0 {
		return nil, ErrEmpty
	}
	e.index.RawSHA256 = hex.EncodeToString(e.rawSum.Sum(nil))
	e.index.GzipSHA256 = hex.EncodeToString(e.gzSum.Sum(nil))
	return &e.index, e.index.Validate()
}

// chunkJob is one chunk on its way through Encode.
type chunkJob struct {
	offset int64
	buf    []byte // of the chunk size
	raw    []byte // the part of buf that is filled
	gz     bytes.Buffer
	member schema.ImageMember
}

type encoder struct {
	w             io.Writer
	r             io.Reader
	opts          Options
	pack          compressor
	rawSum, gzSum hash.Hash
	read          int64
	atEnd         bool
	index         schema.ImageIndex
	// zero is the member of a full chunk of zeros, most of a typical image, and its digest once it was verified.
	zero    []byte
	zeroSum [sha256.Size]byte
}

func (e *encoder) feed(j *chunkJob) (bool, error) {
	if e.atEnd {
		return false, nil
	}
	if j.buf == nil {
		j.buf = make([]byte, e.opts.ChunkSize)
		j.gz.Grow(int(e.index.MaxMember())) // at once, or it would double beyond what is needed
	}
	n, err := io.ReadFull(e.r, j.buf)
	e.atEnd = err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !e.atEnd {
		return false, fmt.Errorf("raw image at offset %d: %w", e.read+int64(n), err)
	}
	j.raw, j.offset = j.buf[:n], e.read
	e.rawSum.Write(j.raw)
	e.read += int64(n)
	return n > 0, nil
}

// packer is the state of one worker.
type packer struct {
	gz    *gzip.Writer
	inf   inflater
	check []byte
}

func (e *encoder) newPacker() (*packer, error) {
	gz, err := gzip.NewWriterLevel(nil, e.opts.Level)
	return &packer{gz: gz, check: make([]byte, e.opts.ChunkSize)}, err
}

func (e *encoder) worker() func(*chunkJob) error {
	p, err := e.newPacker()
	return func(j *chunkJob) error {
		if err != nil {
			return err
		}
		return e.packChunk(p, j)
	}
}

func (e *encoder) packChunk(p *packer, j *chunkJob) error {
	j.member = schema.ImageMember{}
	j.gz.Reset()
	if j.member.Zero = isZero(j.raw); !j.member.Zero {
		j.member.SHA256 = hexSum(j.raw)
	}
	if !j.member.Zero || len(j.raw) < e.opts.ChunkSize {
		return e.packChecked(p, j)
	}
	j.gz.Write(e.zero)
	if sha256.Sum256(j.gz.Bytes()) != e.zeroSum {
		return fmt.Errorf("chunk of zeros at offset %d changed in memory: %w", j.offset, ErrMachine)
	}
	return nil
}

func (e *encoder) packChecked(p *packer, j *chunkJob) error {
	if err := e.pack(p.gz, &j.gz, j.raw); err != nil {
		return fmt.Errorf("chunk at offset %d: %w", j.offset, err)
	}
	check := p.check[:len(j.raw)]
	if err := p.inf.inflate(j.gz.Bytes(), check); err != nil {
		return fmt.Errorf("chunk at offset %d just packed: %s: %w", j.offset, err.Damage, ErrMachine)
	}
	if !bytes.Equal(check, j.raw) {
		return fmt.Errorf("chunk at offset %d unpacks to other bytes than were packed: %w", j.offset, ErrMachine)
	}
	return nil
}

func (e *encoder) makeZeroMember() error {
	p, err := e.newPacker()
	if err != nil {
		return err
	}
	j := chunkJob{raw: make([]byte, e.opts.ChunkSize)}
	if err := e.packChecked(p, &j); err != nil {
		return fmt.Errorf("chunk of zeros: %w", err)
	}
	e.zero = j.gz.Bytes()
	e.zeroSum = sha256.Sum256(e.zero)
	return nil
}

func (e *encoder) sink(j *chunkJob) error {
	if _, err := e.w.Write(j.gz.Bytes()); err != nil {
		return fmt.Errorf("flashable image at offset %d: %w", e.index.GzipSize, err)
	}
	e.gzSum.Write(j.gz.Bytes())
	j.member.Offset, j.member.Length = e.index.GzipSize, int64(j.gz.Len())
	e.index.Members = append(e.index.Members, j.member)
	e.index.GzipSize += j.member.Length
	e.index.RawSize += int64(len(j.raw))
	e.opts.Progress(e.index.RawSize)
	return nil
}
