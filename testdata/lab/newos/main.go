// Command newos is the "balenaOS" of the lab: PID 1 in the initramfs of the image that
// newos-image.sh makes. It looks at its own disk as balenaOS would on its first boot, tells on
// the console what it found, and powers the machine off:
//
//	NEWOS-BOOTED {"boot":"vda1",...} NEWOS-END
//
// The JSON between the two markers is one line, the type is report. A device that was registered beforehand stays on
// instead, and is online as balena's API sees it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// diskTimeout bounds the wait for the partitions to appear.
const diskTimeout = 60 * time.Second

const banner = `
  _           _
 | |__   __ _| | ___ _ __   __ _     balenaOS-like system is up
 | '_ \ / _' | |/ _ \ '_ \ / _' |    boot: %s   data: %s
 | |_) | (_| | |  __/ | | | (_| |    config.json: %s
 |_.__/ \__,_|_|\___|_| |_|\__,_|    networks: %d   backup: %s

`

func main() {
	mountKernelFS()
	// the report must be one line: nothing of the kernel's in between
	_, _ = unix.Klogctl(unix.SYSLOG_ACTION_CONSOLE_OFF, nil)
	console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		console = os.Stdout
	}
	found := look()
	line, err := json.Marshal(found)
	if err != nil {
		line = []byte(`{"errors":["report not encodable"]}`)
	}
	fmt.Fprintf(console, banner, found.Boot, found.Data, found.Config.state(), found.networks(), found.Backup.state())
	fmt.Fprintf(console, "\nNEWOS-BOOTED %s NEWOS-END\n", line)
	if self := readIdentity("/boot/config.json"); self.registered() {
		self.online(console)
	}
	halt()
}

// mountKernelFS mounts what a running system needs; what the kernel mounted before is kept.
func mountKernelFS() {
	for _, fs := range []string{"proc", "sysfs", "devtmpfs"} {
		dir := map[string]string{"proc": "/proc", "sysfs": "/sys", "devtmpfs": "/dev"}[fs]
		_ = os.MkdirAll(dir, 0o755)
		_ = unix.Mount(fs, dir, fs, 0, "")
	}
}

// halt ends the machine. PID 1 must not return: the kernel would panic.
func halt() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	for {
		time.Sleep(time.Hour)
	}
}
