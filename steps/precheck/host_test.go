package precheck

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// machine is a fake host of testdata/roots, and what is made up for it.
type machine struct {
	root    string
	release string
	diskID  string
	// kernel and initrd are the sizes of the files in /boot, in bytes.
	kernel, initrd int64
}

// machines are taken from the lab's guests.
func machines() []machine {
	return []machine{
		{"debian-12-grub-bios", "6.1.0-56-amd64", "2620812e", 8247232, 30214697},
		{"debian-13-grub-bios", "6.12.117+deb13-amd64", "d32cb309", 12171200, 36160126},
	}
}

const (
	rootsDir  = "../../testdata/roots"
	goldenDir = "../../testdata/golden"
	rootUUID  = "1ab00000-0b00-4000-8000-000000000001"
	diskSize  = 3 << 30
	canary    = "canary-0123456789abcdef"

	imageFile  = "/home/op/balena.img.gz"
	configName = "/home/op/config.json"
	sysDisk    = "/sys/devices/pci0000:00/0000:00:01.0/virtio0/block/vda"
	mountinfo  = "/proc/self/mountinfo"
)

const goodConfig = `{
  "apiEndpoint": "https://api.balena-cloud.com", "vpnEndpoint": "cloudlink.balena-cloud.com", "vpnPort": 443,
  "registryEndpoint": "registry2.balena-cloud.com", "deltaEndpoint": "https://delta.balena-cloud.com",
  "applicationId": 1234567, "deviceType": "genericx86-64-ext", "listenPort": 48484, "appUpdatePollInterval": 900000,
  "apiKey": "` + canary + `", "wifiKey": "` + canary + `"
}`

// start makes the machine with everything in order, and the input that goes with it.
func (m machine) start(t *testing.T) (*hosttest.Host, *schema.Migration) {
	t.Helper()
	h := hosttest.New(t, nil)
	m.fill(t, h.Root())
	h.FreeBytes = 2 << 30
	h.Reachable = []string{"api.balena-cloud.com:443", "cloudlink.balena-cloud.com:443", "vpn.balena-cloud.com:443"}
	return h, input()
}

func input() *schema.Migration {
	in := schema.NewMigration()
	in.Config.Image.Path, in.Config.Balena.ConfigJSON = imageFile, configName
	return in
}

// fill copies the tree below root and makes up the rest.
func (m machine) fill(t testing.TB, root string) {
	t.Helper()
	if err := os.CopyFS(root, os.DirFS(filepath.Join(rootsDir, m.root))); err != nil {
		t.Fatal(err)
	}
	super := superblock(t, rootUUID)
	sparse(t, root, "/boot/vmlinuz-"+m.release, m.kernel, nil)
	sparse(t, root, "/boot/initrd.img-"+m.release, m.initrd, nil)
	sparse(t, root, "/dev/vda", diskSize, map[int64][]byte{0: m.bootRecord(t), 1 << 20: super})
	sparse(t, root, "/dev/vda1", diskSize-2<<20, map[int64][]byte{0: super})
	sparse(t, root, configName, int64(len(goodConfig)), map[int64][]byte{0: []byte(goodConfig)})
	// Of a packed image only the beginning is read: its size is that of the lab's.
	sparse(t, root, imageFile, 51<<20, map[int64][]byte{0: gzipped(t, imageHead(440<<20))})
}

// sparse writes a file with these parts and holes between them.
func sparse(t testing.TB, root, name string, size int64, parts map[int64][]byte) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off, data := range parts {
		if _, err := f.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
}

// bootRecord is the guest's: one partition of type 83 from 1 MiB, 1 MiB being free at the end.
func (m machine) bootRecord(t testing.TB) []byte {
	t.Helper()
	id, err := hex.DecodeString(m.diskID)
	if err != nil {
		t.Fatal(err)
	}
	b := bootRecord(part{0x83, 2048, 6287360})
	binary.LittleEndian.PutUint32(b[440:], binary.BigEndian.Uint32(id))
	b[446] = 0x80
	return b
}

// part is an entry of a boot record, in sectors.
type part struct {
	kind        byte
	start, size uint32
}

func bootRecord(parts ...part) []byte {
	b := make([]byte, 512)
	for i, p := range parts {
		e := b[446+16*i:]
		e[4] = p.kind
		binary.LittleEndian.PutUint32(e[8:], p.start)
		binary.LittleEndian.PutUint32(e[12:], p.size)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// imageHead is the beginning of an image of total bytes that is laid out like balenaOS (E20): three primary partitions
// and an extended one, whose logical partitions are described far behind.
func imageHead(total int64) []byte {
	sectors := uint32(total / 512)
	b := make([]byte, 2<<20)
	copy(b, bootRecord(part{0x0c, 8192, 81920}, part{0x83, 90112, 100000}, part{0x83, 190112, 100000}, part{0x0f, 290112, sectors - 290112}))
	return b
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// superblock is the beginning of an ext4 file system (Documentation/filesystems/ext4/super.rst).
func superblock(t testing.TB, uuid string) []byte {
	t.Helper()
	id, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	s := b[1024:]
	binary.LittleEndian.PutUint32(s[0x00:], 196608)
	binary.LittleEndian.PutUint32(s[0x04:], 785920)
	binary.LittleEndian.PutUint32(s[0x18:], 2)
	binary.LittleEndian.PutUint16(s[0x38:], 0xef53)
	binary.LittleEndian.PutUint32(s[0x5c:], 0x4)
	binary.LittleEndian.PutUint32(s[0x60:], 0x2c2)
	copy(s[0x68:], id)
	return b
}

// change replaces text in a file of the fake host, which must have it.
func change(t *testing.T, h *hosttest.Host, name, from, to string) {
	t.Helper()
	data, err := h.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), from) {
		t.Fatalf("%s: no %q in it", name, from)
	}
	h.Put(name, strings.Replace(string(data), from, to, 1))
}

// prepared is what prepare-image says of an image.
func prepared(deviceType string, packed, raw int64) *schema.ImageFacts {
	sum := strings.Repeat("0", 64)
	return &schema.ImageFacts{
		Path: "/var/lib/balena-migrate/image.gz", GzipSize: packed, RawSize: raw, DeviceType: deviceType, Table: "mbr",
		GzipSHA256: sum, RawSHA256: sum, SourceSHA256: sum,
	}
}

func remove(t *testing.T, h *hosttest.Host, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(h.Root(), name)); err != nil {
		t.Fatal(err)
	}
}

// put replaces what is at name, a link too.
func put(t *testing.T, h *hosttest.Host, name, content string) {
	t.Helper()
	if _, err := h.Lstat(name); err == nil {
		remove(t, h, name)
	}
	h.Put(name, content)
}
