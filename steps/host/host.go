// Package host is the machine: files under a root, commands, and what the kernel tells. It is the only package
// of the project that touches the operating system.
//
// A Reader can only look; a Host can also change. Plans are given a Reader, so a plan that writes does not compile.
// At("/") is the running system, At(dir) is the same code on another root: symbolic links, absolute ones too, are
// followed inside that root and never lead out of it.
package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"time"
)

// ErrLoop is returned for a path with more symbolic links than the kernel follows (path_resolution(7)).
var ErrLoop = errors.New("too many levels of symbolic links")

// File is an open file or block device.
type File interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.Closer
	Stat() (fs.FileInfo, error)
}

// Space is what statfs(2) says of a file system, in bytes; Free is what an unprivileged process may use.
type Space struct {
	Total int64
	Free  int64
}

// Reader looks at the machine.
type Reader interface {
	// Root is the directory that is taken for "/".
	Root() string
	ReadFile(name string) ([]byte, error)
	Open(name string) (File, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	Lstat(name string) (fs.FileInfo, error)
	Readlink(name string) (string, error)
	// Xattrs returns the extended attributes of name, a link's own, by their full names (xattr(7)).
	Xattrs(name string) (map[string]string, error)
	// RealPath follows every link of name and returns the path below the root it leads to.
	RealPath(name string) (string, error)
	// Space is the room in the file system that holds name.
	Space(name string) (Space, error)
	// Extents is where a file's bytes lie on the device of its file system, in the file's order (FIEMAP). Holes have none.
	Extents(name string) ([]Extent, error)
	// Machine is the kernel's architecture as uname -m prints it.
	Machine() string
	// Privileged says whether everything of this root may be read and written.
	Privileged() bool
	// Dial connects to host:port by TCP and hangs up.
	Dial(ctx context.Context, address string) error
	// Fetch asks an HTTP server and returns its answer, whatever its status; the body is the caller's to close.
	Fetch(ctx context.Context, q Request) (*http.Response, error)
	// Alive says whether a process runs.
	Alive(pid int) bool
	Now() time.Time
}

// Host looks at the machine and changes it.
type Host interface {
	Reader
	// WriteFile puts data under name at once or not at all: temporary file, fsync, rename, fsync of the directory.
	WriteFile(name string, data []byte, mode fs.FileMode) error
	// Create starts a file that appears under its name only with Commit.
	Create(name string, mode fs.FileMode) (*Pending, error)
	// OpenPart opens a file for going on with it, and makes it if it does not exist.
	OpenPart(name string, mode fs.FileMode) (Part, error)
	// MkdirAll makes a directory and its missing parents.
	MkdirAll(name string, mode fs.FileMode) error
	Remove(name string) error
	// Rename gives a file of a directory another name there, durably; the file that had it is gone.
	Rename(from, to string) error
	// Run runs a command to its end; Spawn starts one that outlives this process.
	Run(ctx context.Context, cmd Cmd) error
	Spawn(cmd Cmd) (pid int, err error)
	// OpenDevice opens a device for writing that is there already.
	OpenDevice(name string) (io.WriteCloser, error)
	// OpenWatchdog starts a hardware watchdog and returns it with the timeout that it took, 0 where it does not tell.
	OpenWatchdog(name string, timeout time.Duration) (io.WriteCloser, time.Duration, error)
	// MeasureWrite writes up to size bytes to a file in dir that is removed again, for limit at the longest, and says how
	// many it were and how long it took until the drive had them.
	MeasureWrite(ctx context.Context, dir string, size int64, limit time.Duration) (int64, time.Duration, error)
	// WriteVariable writes a variable of the EFI firmware by its file in efivarfs; RemoveVariable removes one, which may be
	// gone already. Both take the immutable flag off first.
	WriteVariable(name string, data []byte) error
	RemoveVariable(name string) error
	// KexecLoad loads a kernel for the next reboot by kexec, in place of one that is loaded; KexecUnload lets go of it. Only
	// the running system can do either.
	KexecLoad(k Kexec) error
	KexecUnload() error
	// Lock takes a directory for this process alone; one that does not exist needs no lock.
	Lock(dir string) (unlock func(), err error)
}

// Cmd is a program with its arguments. Name and Dir are looked up in the running system, not below the root.
type Cmd struct {
	Name string
	Args []string
	Dir  string
	// Output, when not nil, gets what the program prints, which then is in no error: it may hold secrets.
	Output io.Writer
}

// Kexec is a kernel to be started by the running one: paths of the kernel's file and of its initramfs, and the kernel's
// command line.
type Kexec struct {
	Kernel, Initramfs, Args string
}
