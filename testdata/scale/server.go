package scale

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Fleet is the server with all devices.
type Fleet struct {
	// Dir has the client's key, its known hosts, and the devices' roots.
	Dir string
	// Downtime is how long a device is away when it reboots.
	Downtime time.Duration
	// Linger is how long a device keeps its process 1 with nothing to do.
	Linger time.Duration

	Devices []*Device
	mu      sync.Mutex
	byAddr  map[string]*Device
	init    string // program
	store   store
	own     ssh.Signer
	other   ssh.Signer
	user    ssh.PublicKey
	port    int
	socket  net.Listener
}

// workDir is balena-migrate's own, below a root.
const workDir = "var/lib/balena-migrate"

// NewFleet makes keys and opens the port. It serves nobody before Add.
func NewFleet(dir, init string) (*Fleet, error) {
	f := &Fleet{Dir: dir, Downtime: 300 * time.Millisecond, Linger: time.Second, byAddr: map[string]*Device{}, init: init, store: store{dir: filepath.Join(dir, "store")}}
	var err error
	if f.own, err = newKey(""); err != nil {
		return nil, err
	}
	if f.other, err = newKey(""); err != nil {
		return nil, err
	}
	user, err := newKey(f.Key())
	if err != nil {
		return nil, err
	}
	f.user = user.PublicKey()
	if f.socket, err = net.Listen("tcp4", "0.0.0.0:0"); err != nil {
		return nil, err
	}
	f.port = f.socket.Addr().(*net.TCPAddr).Port
	known := fmt.Sprintf("[127.*]:%d %s", f.port, ssh.MarshalAuthorizedKey(f.own.PublicKey()))
	if err := os.WriteFile(f.KnownHosts(), []byte(known), 0o600); err != nil {
		return nil, err
	}
	go f.serve()
	return f, nil
}

// Key is the file with the client's private key, KnownHosts the one with the devices' identity, Port where they listen.
func (f *Fleet) Key() string        { return filepath.Join(f.Dir, "key") }
func (f *Fleet) KnownHosts() string { return filepath.Join(f.Dir, "known_hosts") }
func (f *Fleet) Port() int          { return f.port }

// newKey makes an ed25519 key, and writes it to a file unless that is "".
func newKey(file string) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if file != "" {
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	return ssh.NewSignerFromKey(private)
}

// Add puts a device behind an address of its own.
func (f *Fleet) Add(d *Device) {
	n := len(f.Devices) + 1
	d.fleet, d.conns, d.key = f, map[net.Conn]bool{}, f.own
	d.Address = fmt.Sprintf("127.77.%d.%d", n/250, n%250+1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byAddr[d.Address] = d
	f.Devices = append(f.Devices, d)
}

// Close ends the server and all devices.
func (f *Fleet) Close() {
	f.socket.Close()
	for _, d := range f.Devices {
		d.mu.Lock()
		d.away = true
		if d.system != nil {
			d.system.stop()
		}
		d.mu.Unlock()
		d.cut()
	}
}

func (f *Fleet) serve() {
	for {
		conn, err := f.socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "accept:", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go f.client(conn)
	}
}

// client serves one connection: by its own address it is known which device is meant.
func (f *Fleet) client(conn net.Conn) {
	defer conn.Close()
	f.mu.Lock()
	d := f.byAddr[conn.LocalAddr().(*net.TCPAddr).IP.String()]
	f.mu.Unlock()
	if d == nil {
		return
	}
	key, ok := d.admit(conn)
	if !ok {
		_ = conn.(*net.TCPConn).SetLinger(0) // the client sees a reset
		return
	}
	defer d.forget(conn)
	config := &ssh.ServerConfig{PublicKeyCallback: d.login}
	config.AddHostKey(key)
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer server.Close()
	d.note(Event{Kind: "login"})
	go ssh.DiscardRequests(requests)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		if channel, requests, err := c.Accept(); err == nil {
			go d.channel(channel, requests)
		}
	}
}

func (d *Device) login(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if d.Fault == AuthRefused || !bytes.Equal(key.Marshal(), d.fleet.user.Marshal()) {
		d.note(Event{Kind: "login-refused"})
		return nil, errors.New("no such key")
	}
	return &ssh.Permissions{}, nil
}

// channel serves one session: the environment is taken as read, and one command is run.
func (d *Device) channel(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "exec":
			var exec struct{ Command string }
			err := ssh.Unmarshal(r.Payload, &exec)
			_ = r.Reply(err == nil, nil)
			if err == nil {
				go d.exec(channel, exec.Command)
			}
		default: // pty-req, env, subsystem, signals
			_ = r.Reply(r.Type == "env", nil)
		}
	}
}

// exec is what sshd does with a command: its output is sent to the end, then the exit code, then the channel is closed.
func (d *Device) exec(channel ssh.Channel, command string) {
	defer channel.Close()
	var theirs, ours [3]*os.File
	for i := range theirs {
		r, w, err := os.Pipe()
		if err != nil {
			return
		}
		if i == 0 {
			theirs[i], ours[i] = r, w
		} else {
			theirs[i], ours[i] = w, r
		}
	}
	go func() {
		_, _ = io.Copy(ours[0], channel) // a command that does not read is no error
		ours[0].Close()
	}()
	var sent sync.WaitGroup
	for out, to := range map[*os.File]io.Writer{ours[1]: channel, ours[2]: channel.Stderr()} {
		sent.Go(func() {
			_, _ = io.Copy(to, out)
			out.Close()
		})
	}
	code, ok := d.session(command, theirs)
	sent.Wait()
	if ok {
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(code)}))
	}
}
