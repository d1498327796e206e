package host

import "golang.org/x/sys/unix"

// Reserve takes length bytes of the disk from off on for the file, which becomes as long, without writing them
// (fallocate(2)).
func (p *Pending) Reserve(off, length int64) error {
	killPoint()
	return unix.Fallocate(int(p.Fd()), 0, off, length)
}

// Release gives length bytes from off on back to the file system (fallocate(2), FALLOC_FL_PUNCH_HOLE), for good: ext4
// hands blocks out again only after its journal has committed.
func (p *Pending) Release(off, length int64) error {
	killPoint()
	if err := unix.Fallocate(int(p.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length); err != nil {
		return err
	}
	return p.Sync()
}

// Extents is where the unfinished file lies.
func (p *Pending) Extents() ([]Extent, error) {
	killPoint()
	return extents(p.File)
}
