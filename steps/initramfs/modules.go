package initramfs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/balena-community/balena-migrate/steps/host"
)

// moduleTree is /lib/modules/<release>: what depmod(8) wrote there.
type moduleTree struct {
	dir     string
	files   map[string]string   // name → path below dir
	deps    map[string][]string // name → names it needs, nearest first (modules.dep(5))
	pre     map[string][]string // name → names or aliases to load before it (modprobe.d(5), softdep)
	alias   map[string][]string // alias without wildcards → names
	builtin map[string]bool
}

// moduleName is the kernel's name of a module file: no directory, no suffix, dashes as underscores.
func moduleName(file string) string {
	base, _, _ := strings.Cut(path.Base(file), ".ko")
	return underscored(base)
}

// underscored is a module's name or alias as kmod compares them: a dash is an underscore.
func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// openModules reads the lists of a kernel release. A kernel without modules has none of them.
func openModules(r host.Reader, release string) (*moduleTree, error) {
	t := &moduleTree{
		dir: "/lib/modules/" + release, files: map[string]string{}, deps: map[string][]string{}, pre: map[string][]string{},
		alias: map[string][]string{}, builtin: map[string]bool{},
	}
	readers := []struct {
		file string
		line func(string)
	}{{"modules.dep", t.depLine}, {"modules.builtin", t.builtinLine}, {"modules.softdep", t.softdepLine}, {"modules.alias", t.aliasLine}}
	for _, x := range readers {
		data, err := r.ReadFile(t.dir + "/" + x.file)
		if errors.Is(err, fs.ErrNotExist) && x.file != "modules.dep" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("modules of kernel %s: %w", release, err)
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			x.line(line)
		}
	}
	return t, nil
}

func (t *moduleTree) depLine(line string) {
	file, needs, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	name := moduleName(file)
	t.files[name] = file
	for _, n := range strings.Fields(needs) {
		t.deps[name] = append(t.deps[name], moduleName(n))
	}
}

func (t *moduleTree) builtinLine(line string) {
	if line != "" {
		t.builtin[moduleName(line)] = true
	}
}

// softdepLine reads "softdep ext4 pre: crc32c post: x".
func (t *moduleTree) softdepLine(line string) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "softdep" {
		return
	}
	name, in := moduleName(f[1]), ""
	for _, word := range f[2:] {
		switch {
		case strings.HasSuffix(word, ":"):
			in = word
		case in == "pre:":
			t.pre[name] = append(t.pre[name], word)
		}
	}
}

func (t *moduleTree) aliasLine(line string) {
	f := strings.Fields(line)
	if len(f) == 3 && f[0] == "alias" && !strings.ContainsAny(f[1], "*?[") {
		name := underscored(f[1])
		t.alias[name] = append(t.alias[name], f[2])
	}
}

// order lists the module files to load so that each comes after what it needs. Drivers that are built in are left out;
// one that is neither built in nor a file is an error.
func (t *moduleTree) order(names []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	var add func(name string, optional bool) error
	add = func(name string, optional bool) error {
		name = underscored(name)
		if seen[name] || t.builtin[name] {
			return nil
		}
		file, ok := t.files[name]
		if !ok {
			return t.addAlias(name, optional, add)
		}
		seen[name] = true
		for _, soft := range t.pre[name] {
			if err := add(soft, true); err != nil {
				return err
			}
		}
		for i := len(t.deps[name]) - 1; i >= 0; i-- {
			if err := add(t.deps[name][i], false); err != nil {
				return fmt.Errorf("%s needs %w", name, err)
			}
		}
		out = append(out, file)
		return nil
	}
	for _, name := range names {
		if err := add(name, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// present picks the names that are module files.
func (t *moduleTree) present(names []string) []string {
	var out []string
	for _, n := range names {
		if _, ok := t.files[n]; ok {
			out = append(out, n)
		}
	}
	return out
}

// addAlias adds every module that provides an alias, e.g. crc32c, which softdeps name.
func (t *moduleTree) addAlias(name string, optional bool, add func(string, bool) error) error {
	found := t.alias[name]
	if len(found) == 0 && !optional {
		return fmt.Errorf("module %s: found neither in %s/modules.dep nor in modules.builtin", name, t.dir)
	}
	for _, n := range found {
		if err := add(n, true); err != nil {
			return err
		}
	}
	return nil
}

// maxModule bounds what a compressed module may unpack to, in bytes; the largest of Debian's is 6 MB.
const maxModule = 64 << 20

// readModule returns a module as the kernel wants it, unpacked: kernels built without CONFIG_MODULE_DECOMPRESS refuse
// compressed ones.
func (t *moduleTree) readModule(r host.Reader, file string) ([]byte, error) {
	data, err := r.ReadFile(t.dir + "/" + file)
	if err != nil {
		return nil, err
	}
	var src io.Reader
	switch path.Ext(file) {
	case ".xz":
		src, err = xz.NewReader(bytes.NewReader(data))
	case ".zst":
		src, err = zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
	case ".gz":
		src, err = gzip.NewReader(bytes.NewReader(data))
	default:
		return data, nil
	}
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(src, maxModule))
	}
	if err != nil {
		return nil, fmt.Errorf("unpack %s/%s: %w", t.dir, file, err)
	}
	return data, nil
}
