package host

import "testing"

// Every flag under which a file's bytes do not lie as they are at the place that is told is doubted by its name, and one
// that nobody knows yet too.
func TestDoubt(t *testing.T) {
	for _, c := range []struct {
		flags     uint32
		want      string
		allocated bool
	}{
		{0, "", true},
		{0x1, "", true},
		{0x1000 | 0x2000 | 0x1, "", true}, // merged, shared, last
		{0x2, "unknown", false},
		{0x2 | 0x4, "unknown, delalloc", false},
		{0x8, "encoded", false},
		{0x80, "data encrypted", false},
		{0x100 | 0x200, "not aligned, data inline", false},
		{0x400, "data tail", false},
		{0x800, "unwritten", true},
		{0x800 | 0x2, "unknown, unwritten", false},
		{0x4000, "flags 0x4000", false},
	} {
		e := Extent{flags: c.flags}
		if got := e.Doubt(); got != c.want || e.Allocated() != c.allocated {
			t.Errorf("%#x: %q, allocated %v; want %q, %v", c.flags, got, e.Allocated(), c.want, c.allocated)
		}
	}
}
