package boot

import (
	"fmt"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/device/configtxt"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Tryboot arms the firmware of a Raspberry Pi for one boot (Raspberry Pi documentation, "Fail-safe OS updates"): it reads
// tryboot.txt instead of config.txt when the reboot before asked for that, and forgets it at once. config.txt stays as it
// is, so power cuts, crashes and hangs that a watchdog ends lead back to the old system, whatever stage 2 did.
//
// It is used where the running system shows that it works: the bootloader in the EEPROM says so in the device tree, and
// the kernel has the driver that passes the request on. Should it be ignored nevertheless, the old system starts.
type Tryboot struct{}

// trybootName is the file that the firmware reads on such a boot.
const trybootName = "tryboot.txt"

// Name implements Backend.
func (Tryboot) Name() string { return "raspberry-pi-tryboot" }

// RestartArgument implements Restarter: partition 0 is the first, and the flag.
func (Tryboot) RestartArgument() string { return "0 tryboot" }

// Here implements Backend: only where nothing stands against it, for config.txt is the other way.
func (t Tryboot) Here(s Site) bool { return s.pi != nil && len(t.Check(s)) == 0 }

// Check implements Backend.
func (Tryboot) Check(s Site) []schema.Blocked {
	if why := (RaspberryPi{}).Check(s); len(why) > 0 {
		return why
	}
	if why := s.pi.noTryboot(); why != "" {
		return blockLoader(why, "a Raspberry Pi that can be told to try another configuration once", "set boot.method to auto, or to raspberry-pi")
	}
	return nil
}

// canTryboot is the bit of /chosen/bootloader/capabilities for TRYBOOT (Raspberry Pi documentation, "BCM2711 specific
// bootloader properties").
const canTryboot = 1 << 3

// noTryboot says what is missing for a boot on trial, "" for nothing.
func (f *firmware) noTryboot() string {
	switch {
	case f.bootloader("capabilities")&canTryboot == 0:
		return "a bootloader that does not say that it knows tryboot"
	case f.board.Type == 0x11 && f.board.Revision <= 1:
		return "a Raspberry Pi 4 Model B of revision 1.0 or 1.1, which keeps the flag in its EEPROM, and that may be write-protected"
	case !f.passesFlag():
		return "a kernel without Raspberry Pi's driver that passes the flag on, /dev/vcio, from 5.10 on"
	case !f.site.systemd():
		return "an init that can't reboot with an argument: it is not systemd"
	case f.number != 1:
		return f.dir + ", which is not the first partition"
	case f.autoboot.TrybootAB:
		return f.at("autoboot.txt") + " with tryboot_a_b, by which tryboot.txt is not read"
	case f.hasTrial():
		return f.at("config.txt") + " with a section [tryboot] of another's"
	case f.exists(trybootName) && !fenced(f.site, trybootName):
		return f.at(trybootName) + " of another's"
	}
	return ""
}

// passesFlag says whether the kernel is one of Raspberry Pi's that tells the firmware (drivers/firmware/raspberrypi.c there,
// October 2020). The driver behind /dev/vcio is in no other.
func (f *firmware) passesFlag() bool {
	release, err := Release(f.site)
	if err != nil {
		return false
	}
	var major, minor int
	if n, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil || n != 2 {
		return false
	}
	_, err = f.site.Stat("/dev/vcio")
	return err == nil && (major > 5 || major == 5 && minor >= 10)
}

// hasTrial says whether config.txt has settings for boots on trial: what they would start is not what runs.
func (f *firmware) hasTrial() bool {
	for _, l := range f.lines {
		if strings.Contains(l.Filter, "[tryboot]") {
			return true
		}
	}
	return false
}

// Running implements Backend.
func (Tryboot) Running(s Site) (Entry, error) { return RaspberryPi{}.Running(s) }

// Archive implements Backend.
func (Tryboot) Archive(s Site) string { return RaspberryPi{}.Archive(s) }

// Files implements Backend. tryboot.txt is the whole of config.txt with ours behind: nothing else is read on such a boot.
// What config.txt includes is in it, since that is to be silenced too.
func (Tryboot) Files(s Site, e Entry, _ func(string) (disarm.State, error)) ([]File, error) {
	f, err := s.firmware()
	if err != nil {
		return nil, err
	}
	out, err := f.ours(e)
	if err != nil {
		return nil, err
	}
	text, err := configtxt.Flat(f.unarmed, f.board)
	if err != nil {
		return nil, err
	}
	data := []byte(f.block(configtxt.Silence(text)))
	return append(out, File{Path: f.at(trybootName), Data: data, Mode: out[0].Mode, Restore: schema.RestoreRemove}), nil
}

// Armed implements Backend. It lasts for the boot in which it was armed.
func (Tryboot) Armed(r host.Reader) bool { return fenced(r, trybootName) }
