package stage2

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/balena-community/balena-migrate/steps/host"
)

// journal is stage 2's log: on the console, in the kernel's ring buffer, where the old system's dmesg still has it when
// stage 2 hands over by exec, and in memory until there is a disk to leave it on.
type journal struct {
	h       host.Host
	k       host.Kernel
	mu      sync.Mutex
	text    bytes.Buffer
	console io.WriteCloser
	kmsg    io.WriteCloser
}

// textLimit bounds what is kept, in bytes; the beginning tells most.
const textLimit = 256 << 10

func newJournal(h host.Host, k host.Kernel) *journal { return &journal{h: h, k: k} }

// open finds the console and the ring buffer, once /dev is there.
func (j *journal) open() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.console, j.kmsg = openForWriting(j.h, "/dev/console"), openForWriting(j.h, "/dev/kmsg")
}

func openForWriting(h host.Host, name string) io.WriteCloser {
	f, err := h.OpenDevice(name)
	if err != nil {
		return nil
	}
	return f
}

// close lets go of /dev, which the next init mounts again.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, w := range []io.WriteCloser{j.console, j.kmsg} {
		if w != nil {
			_ = w.Close() // nothing is buffered
		}
	}
	j.console, j.kmsg = nil, nil
}

// printf writes one line. Nothing of it is ever secret.
func (j *journal) printf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.SplitSeq(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n") {
		full := fmt.Sprintf("balena-migrate [%8.2f] %s", j.k.Uptime().Seconds(), line)
		if j.text.Len() < textLimit {
			j.text.WriteString(full + "\n")
		}
		if j.console != nil {
			fmt.Fprint(j.console, full+"\r\n")
		}
		if j.kmsg != nil {
			// Level debug (7): in the ring buffer, but not on the console a second time. The kernel cuts at about 1 kB.
			fmt.Fprint(j.kmsg, "<7>"+full[:min(len(full), 900)]+"\n")
		}
	}
}

// bytes returns what was logged.
func (j *journal) bytes() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Clone(j.text.Bytes())
}
