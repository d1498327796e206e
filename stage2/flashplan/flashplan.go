// Package flashplan is where the parts of the initramfs lie. build-initramfs puts them there, stage 2 reads them.
package flashplan

import (
	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Paths in the initramfs. Everything of ours but the executable is below Dir, a directory of our own: the archive is
// unpacked over the host's, and a directory entry would replace a link such as /lib.
const (
	// Binary is the name under which the kernel starts stage 2 (rdinit=).
	Binary     = "/balena-stage2"
	Dir        = "/balena"
	Plan       = Dir + "/flash-plan.json"
	Index      = Dir + "/image-index.json"
	ConfigJSON = Dir + "/config.json"
	Networks   = Dir + "/system-connections"
	BootFiles  = Dir + "/boot-files"
	BootCode   = Dir + "/boot-code"
	Modules    = Dir + "/modules"
	Image      = Dir + "/image.gz"
	Backup     = Dir + "/backup.tgz"
)

// Carried is the type of file system of a file that travels in the initramfs: its path is one there.
const Carried = "initramfs"

// Workers is how many chunks stage 2 inflates at once for a number of processors. Each holds BufferSize bytes.
func Workers(processors int) int { return min(max(processors, 1), 4) }

// BufferSize is the memory of one worker, in bytes: a chunk packed, unpacked and read back, and the inflater's state.
const BufferSize = 4 << 20

// Program is the memory stage 2 takes for itself, in bytes, beside its executable, which lies in memory as a file: 32 MB
// are the limit for Go's heap, the rest is for all that is outside it. Measured in a machine of 256 MB that flashed
// 512 MB: what is available falls by 2 MB from before the image is secured to after the read-back.
const Program = 48 << 20

// Held is how much of a file of the old system stage 2 takes into memory, in bytes: what it can't read in place. What
// travels in the initramfs is in memory already.
func Held(f *schema.FileRef) int64 {
	if f == nil || f.FSType == Carried {
		return 0
	}
	return f.Size - inplace.Total(f.Extents)
}

// CarriedSize is how much of the image and the backup travels in the initramfs, in bytes.
func CarriedSize(p *schema.FlashPlan) int64 {
	n := int64(0)
	for _, f := range []*schema.FileRef{&p.Image, p.Backup} {
		if f != nil && f.FSType == Carried {
			n += f.Size
		}
	}
	return n
}

// Need is the memory that stage 2 holds at once, in bytes, beside what it leaves free: what it can't read in place of the
// image and the backup, and its own.
func Need(p *schema.FlashPlan, processors int) int64 {
	return Held(&p.Image) + Held(p.Backup) + Program + int64(Workers(processors))*BufferSize
}

// Load reads the plan of the initramfs that r is.
func Load(r host.Reader) (*schema.FlashPlan, error) {
	data, err := r.ReadFile(Plan)
	if err != nil {
		return nil, err
	}
	p := &schema.FlashPlan{}
	if err := schema.Decode(data, Plan, "flash-plan", p); err != nil {
		return nil, err
	}
	return p, nil
}
