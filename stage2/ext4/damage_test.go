package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"
)

// small is a tree for images that are damaged: a file with a tree of extents or pointers, and a directory of blocks.
func small() map[string]node {
	tree := map[string]node{"file": {data: holes(40, 1024)}, "link": {link: strings.Repeat("./", 40) + "file"}, "dir/inner": {data: []byte("x")}}
	for i := range 40 {
		tree[fmt.Sprintf("dir/a file with a long name, number %02d", i)] = node{data: []byte{}}
	}
	return tree
}

// sick is an image to be damaged, with the places of what is in it.
type sick struct {
	t     *testing.T
	image []byte
	f     *FS
}

func newSick(t *testing.T, features string) *sick {
	t.Helper()
	image := read(t, format(t, plant(t, small()), 4, "-b", "1024", "-I", "256", "-N", "128", "-O", features))
	return &sick{t: t, image: image, f: open(t, image)}
}

// again is the image as it was made, to be damaged in another way.
func (s *sick) again(t *testing.T) *sick {
	image := bytes.Clone(s.image)
	return &sick{t: t, image: image, f: open(t, image)}
}

// at returns the inode of a name and where it lies.
func (s *sick) at(name string) (*inode, []byte) {
	i, err := s.f.lookup(name, false)
	if err != nil {
		s.t.Fatal(err)
	}
	group := uint64(i.number-1) / uint64(s.f.super.inodesPerGroup)
	table, err := s.f.inodeTable(group)
	if err != nil {
		s.t.Fatal(err)
	}
	at := int64(table)*s.f.super.blockSize + int64(uint64(i.number-1)%uint64(s.f.super.inodesPerGroup))*s.f.super.inodeSize
	return i, s.image[at : at+s.f.super.inodeSize]
}

func (s *sick) block(n uint64) []byte { return s.image[n*1024 : (n+1)*1024] }

// child is the first block that the inode's tree or pointers lead to.
func (s *sick) child(name string) (uint64, []byte) {
	i, _ := s.at(name)
	n := uint64(binary.LittleEndian.Uint32(i.root[16:])) // ei_leaf_lo of the first index entry
	if i.flags&flagExtents == 0 {
		n = uint64(binary.LittleEndian.Uint32(i.root[direct*4:]))
	}
	return n, s.block(n)
}

// firstData is the first block of a directory.
func (s *sick) firstData(name string) (uint64, []byte) {
	i, _ := s.at(name)
	e, err := s.f.extents(i)
	if err != nil {
		s.t.Fatal(err)
	}
	n := uint64(e[0].Place / 1024)
	return n, s.block(n)
}

const plain = "extent,filetype,sparse_super"

// Damage is found and named by block or inode, with the features that have no checksums.
func TestDamage(t *testing.T) {
	le := binary.LittleEndian
	whole := map[string]*sick{plain: newSick(t, plain), "filetype": newSick(t, "filetype")}
	for _, tt := range []struct {
		name, features, want string
		edit                 func(s *sick)
		open                 string
	}{
		{"extent magic", plain, "inode %d: extent magic 0x0000, expected 0xf30a", func(s *sick) { _, b := s.at("file"); b[0x28], b[0x29] = 0, 0 }, "file"},
		{"too many extents", plain, "inode %d: 5 of 4 extents", func(s *sick) { _, b := s.at("file"); b[0x2a] = 5 }, "file"},
		{"room for too many", plain, "of 9 extents in 60 bytes", func(s *sick) { _, b := s.at("file"); b[0x2c] = 9 }, "file"},
		{"depth", plain, "extent tree of depth 9", func(s *sick) { _, b := s.at("file"); b[0x2e] = 9 }, "file"},
		{"node without entries", plain, "no extents in it", func(s *sick) { _, b := s.child("file"); b[2] = 0 }, "file"},
		{"node of another depth", plain, "extent tree of depth 3, expected 0", func(s *sick) { _, b := s.child("file"); b[6] = 3 }, "file"},
		{"tree in itself", plain, "extent tree of depth 1, expected 0", func(s *sick) {
			i, _ := s.at("file")
			n, b := s.child("file")
			copy(b, i.root[:])
			le.PutUint32(b[16:], uint32(n))
		}, "file"},
		{"extents out of order", plain, "extent of 1 blocks from block 0 of the file, expected some from 3", func(s *sick) { _, b := s.child("file"); le.PutUint32(b[12+2*12:], 0) }, "file"},
		{"extent beyond the end", plain, "inode %d, block 0 of the file: blocks 4000000 to 4000000, the file system has 4096", func(s *sick) {
			_, b := s.child("file")
			le.PutUint32(b[12+8:], 4000000)
		}, "file"},
		{"extent beyond the end by its length", plain, "the file system has 4096", func(s *sick) {
			_, b := s.child("file")
			le.PutUint16(b[12+39*12+4:], 30000)
		}, "file"},
		{"node beyond the end", plain, "extent block 70000: blocks 70000 to 70000", func(s *sick) { _, b := s.at("file"); le.PutUint32(b[0x28+16:], 70000) }, "file"},
		{"pointers beyond the end", "filetype", "inode %d, block of pointers 70000", func(s *sick) { _, b := s.at("file"); le.PutUint32(b[0x28+48:], 70000) }, "file"},
		{"pointer beyond the end", "filetype", "inode %d, block 12 of the file: blocks 70000", func(s *sick) { _, b := s.child("file"); le.PutUint32(b, 70000) }, "file"},
		{"negative size", plain, "inode %d: size of", func(s *sick) { _, b := s.at("file"); b[0x6f] = 0x80 }, "file"},
		{"free inode", plain, "inode %d is free", func(s *sick) { _, b := s.at("file"); b[0], b[1] = 0, 0 }, "file"},
		{"link without a target", plain, "target of 0 bytes", func(s *sick) { _, b := s.at("link"); le.PutUint32(b[4:], 0) }, "link"},
		{"entry of no length", plain, "an entry of 0 bytes at offset 0 of 1024", func(s *sick) { _, b := s.firstData("dir"); b[4], b[5] = 0, 0 }, "dir/inner"},
		{"entry beyond the block", plain, "an entry of 2048 bytes", func(s *sick) { _, b := s.firstData("dir"); le.PutUint16(b[4:], 2048) }, "dir/inner"},
		{"name beyond its entry", plain, "a name of 255 bytes in an entry of 12", func(s *sick) { _, b := s.firstData("dir"); b[6] = 255 }, "dir/inner"},
		{"slash in a name", plain, `the name "/"`, func(s *sick) { _, b := s.firstData("dir"); b[8] = '/' }, "dir/inner"},
		{"entry without an inode", plain, "inode 9999: there are", func(s *sick) {
			_, b := s.firstData("dir")
			at := bytes.Index(b, []byte("inner"))
			le.PutUint32(b[at-8:], 9999)
		}, "dir/inner"},
		{"directory in itself", plain, "contains itself", func(s *sick) {
			i, _ := s.at("dir")
			_, b := s.firstData("dir")
			at := bytes.Index(b, []byte("inner"))
			le.PutUint32(b[at-8:], i.number)
		}, "dir/inner"},
		{"directory too large", plain, "a directory of 1073741824 bytes", func(s *sick) { _, b := s.at("dir"); le.PutUint32(b[4:], 1<<30) }, "dir/inner"},
		{"inode table beyond the end", plain, "inode 2: blocks", func(s *sick) { le.PutUint32(s.block(2)[8:], 99999) }, "file"},
		{"root is no directory", plain, "the root directory is a L", func(s *sick) { _, b := s.at("."); b[1] = 0xa0 }, "file"},
		{"inline without the feature", plain, "has inline data, the file system has not", func(s *sick) { _, b := s.at("file"); b[0x23] |= 0x10 }, "file"},
		{"encrypted file", plain, "is encrypted or compressed", func(s *sick) { _, b := s.at("file"); b[0x21] |= 8 }, "file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := whole[tt.features].again(t)
			i, _ := s.at("file")
			tt.edit(s)
			_, err := open(t, s.image).ReadFile(tt.open)
			want := strings.ReplaceAll(tt.want, "%d", fmt.Sprint(i.number))
			if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}

// With metadata checksums a single flipped bit is found wherever it is used.
func TestChecksums(t *testing.T) {
	whole := newSick(t, modern)
	for _, tt := range []struct {
		name, want string
		at         func(s *sick) *byte
	}{
		{"superblock", "superblock: checksum", func(s *sick) *byte { return &s.image[superOffset+0x200] }},
		{"group", "descriptor of group 0: checksum", func(s *sick) *byte { return &s.block(2)[0x0c] }},
		{"inode", "checksum", func(s *sick) *byte { _, b := s.at("file"); return &b[0x10] }},
		{"end of the inode", "checksum", func(s *sick) *byte { _, b := s.at("file"); return &b[0x90] }},
		{"extents", "extent block", func(s *sick) *byte { _, b := s.child("file"); return &b[12+3*12+8] }},
		{"directory", "directory inode", func(s *sick) *byte { _, b := s.firstData("dir"); return &b[bytes.Index(b, []byte("inner"))] }},
	} {
		s := whole.again(t)
		*tt.at(s) ^= 1
		f, err := Open(bytes.NewReader(s.image), int64(len(s.image)))
		for _, name := range []string{"file", "dir/inner"} {
			if err == nil {
				_, err = f.ReadFile(name)
			}
		}
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestNotExt(t *testing.T) {
	image := newSick(t, plain).image
	for _, tt := range []struct {
		name string
		edit func(super []byte)
		want error
	}{
		{"magic", func(b []byte) { b[0x38] = 0 }, ErrFormat},
		{"block size", func(b []byte) { b[0x18] = 7 }, ErrFormat},
		{"inode size 0", func(b []byte) { b[0x58], b[0x59] = 0, 0 }, ErrDamaged},
		{"inode size 192", func(b []byte) { b[0x58], b[0x59] = 192, 0 }, ErrDamaged},
		{"inodes larger than a block", func(b []byte) { b[0x59] = 8 }, ErrDamaged},
		{"no blocks per group", func(b []byte) { clear(b[0x20:0x24]) }, ErrDamaged},
		{"no inodes per group", func(b []byte) { clear(b[0x28:0x2c]) }, ErrDamaged},
		{"no blocks", func(b []byte) { clear(b[0x04:0x08]) }, ErrDamaged},
		{"too many inodes", func(b []byte) { b[3] = 1 }, ErrDamaged},
		{"64bit with small descriptors", func(b []byte) { b[0x60] |= 0x80; b[0xfe] = 32 }, ErrDamaged},
		{"longer than the disk", func(b []byte) { b[5] = 0x11 }, ErrDamaged},
		{"unknown checksums", func(b []byte) { b[0x65] |= 4; b[0x175] = 2 }, ErrUnsupported},
	} {
		bad := bytes.Clone(image)
		tt.edit(bad[superOffset:])
		if _, err := Open(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := Open(bytes.NewReader(image), 2000); !errors.Is(err, ErrFormat) {
		t.Errorf("2000 bytes: %v", err)
	}
	if _, err := Open(bytes.NewReader(image[:1500]), 1<<20); !errors.Is(err, ErrFormat) {
		t.Errorf("cut: %v", err)
	}
	if _, err := Open(bytes.NewReader(image), 3<<20); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "truncated to 3145728 bytes") {
		t.Errorf("truncated: %v", err)
	}
}

// A bad sector is not damage of the file system, and the cause can be told. A file system that ends early is.
func TestUnreadable(t *testing.T) {
	s := newSick(t, plain)
	n, _ := s.child("file")
	for _, at := range []int64{superOffset, 2 * 1024, int64(n) * 1024} {
		f, err := Open(badAt{bytes.NewReader(s.image), at}, int64(len(s.image)))
		if err == nil {
			_, err = f.ReadFile("file")
		}
		if !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, ErrDamaged) {
			t.Errorf("offset %d: error %v", at, err)
		}
	}
	f, err := Open(bytes.NewReader(s.image[:n*1024]), int64(len(s.image)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFile("file"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("in block %d", n)) {
		t.Errorf("cut: error %v", err)
	}
}

// badAt has a byte that can't be read.
type badAt struct {
	io.ReaderAt
	at int64
}

func (b badAt) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.at && b.at < off+int64(len(p)) {
		return 0, iotest.ErrTimeout
	}
	return b.ReaderAt.ReadAt(p, off)
}

// Pointers of ext2 that lead in circles end: each level goes down, and what they can ask for is bounded.
func TestPointersInCircles(t *testing.T) {
	s := newSick(t, "filetype")
	i, b := s.at("file")
	n, block := s.child("file")
	for at := 0; at < len(block); at += 4 {
		binary.LittleEndian.PutUint32(block[at:], uint32(n))
	}
	for at := range 3 {
		binary.LittleEndian.PutUint32(b[0x28+4*(direct+at):], uint32(n))
	}
	binary.LittleEndian.PutUint32(b[4:], 0xffffffff)
	_, err := open(t, s.image).OpenFile("file")
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("inode %d: in more than", i.number)) {
		t.Errorf("error %v", err)
	}
}

// The fuzzer changes single bytes of file systems of three kinds: four bytes of its input are a place and a value.
func FuzzFS(f *testing.F) {
	var images [][]byte
	for k, features := range []string{plain, "filetype", "extent,filetype,inline_data,64bit,flex_bg,dir_index"} {
		image := read(f, format(f, plant(f, small()), 1, "-b", "1024", "-I", "256", "-N", "64", "-O", features))
		images = append(images, image)
		f.Add(byte(k), []byte{4, 0x18, 0, 1})
		f.Add(byte(k), []byte{8, 8, 0, 1, 0x19, 2, 3, 255})
	}
	f.Fuzz(func(t *testing.T, kind byte, edits []byte) {
		image := bytes.Clone(images[int(kind)%len(images)])
		for ; len(edits) >= 4; edits = edits[4:] {
			image[(int(edits[0])<<8|int(edits[1])|int(edits[2])<<16)%len(image)] = edits[3]
		}
		ext, err := Open(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			return
		}
		left := 300
		_ = fs.WalkDir(ext, ".", func(name string, d fs.DirEntry, err error) error {
			if left--; left < 0 || d == nil { // nil: not even the root
				return fs.SkipAll
			}
			if strings.ContainsRune(d.Name(), '/') && name != "." {
				t.Errorf("name %q", d.Name())
			}
			if err != nil || d.IsDir() {
				return nil
			}
			if d.Type() == fs.ModeSymlink {
				_, _ = ext.ReadLink(name)
			}
			if file, err := ext.OpenFile(name); err == nil {
				n, _ := io.CopyN(io.Discard, file, 1<<18)
				if n > file.Size() {
					t.Errorf("%q has %d bytes of %d", name, n, file.Size())
				}
				_, _ = file.ReadAt(make([]byte, 5000), file.Size()-2500)
			}
			return nil
		})
	})
}
