package watchdog

import (
	"slices"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const release = "6.1.0-test"

// nuc is a machine with Intel's watchdog on its bus controller, whose driver is not loaded.
func nuc(t *testing.T) *hosttest.Host {
	h := hosttest.New(t, map[string]string{
		"/lib/modules/" + release + "/modules.dep": "kernel/drivers/watchdog/iTCO_wdt.ko: kernel/drivers/watchdog/watchdog.ko\n" +
			"kernel/drivers/watchdog/i6300esb.ko.xz: kernel/drivers/watchdog/watchdog.ko\nkernel/drivers/watchdog/softdog.ko:\n" +
			"kernel/drivers/i2c/busses/i2c-i801.ko:\nkernel/drivers/net/e1000e.ko:\nkernel/drivers/watchdog/pcwd_usb.ko:\n",
		"/lib/modules/" + release + "/modules.alias": "# Aliases\nalias platform:iTCO_wdt iTCO_wdt\nalias pci:v00008086d000025ABsv*sd*bc*sc*i* i6300esb\n" +
			"alias pci:v00008086d0000156Fsv*sd*bc*sc*i* e1000e\nalias usb:v0C98p1140d*dc*dsc*dp*ic*isc*ip*in* pcwd_usb\n",
		"/sys/devices/pci0000:00/0000:00:1f.4/iTCO_wdt/modalias": "platform:iTCO_wdt\n",
		"/sys/devices/pci0000:00/0000:00:1f.6/modalias":          "pci:v00008086d0000156Fsv00008086sd00002068bc02sc00i00\n",
		"/sys/devices/usb1/modalias":                             "usb:v0C98p1140d0001dc00dsc00dp00ic03isc00ip00in00\n",
	})
	h.Link("/sys/bus/platform/devices/iTCO_wdt", "/sys/devices/pci0000:00/0000:00:1f.4/iTCO_wdt")
	h.Link("/sys/bus/pci/devices/0000:00:1f.6", "/sys/devices/pci0000:00/0000:00:1f.6")
	h.Link("/sys/bus/usb/devices/1-1", "/sys/devices/usb1")
	h.Link("/sys/devices/pci0000:00/0000:00:1f.4/driver", "/sys/bus/pci/drivers/i801_smbus")
	h.Link("/sys/bus/pci/drivers/i801_smbus/module", "/sys/module/i2c_i801")
	h.Link("/sys/devices/pci0000:00/driver", "/sys/bus/pci/drivers/builtin") // no module file
	h.Link("/sys/bus/pci/drivers/builtin/module", "/sys/module/builtin")
	return h
}

// loaded adds the device that the driver makes.
func loaded(h *hosttest.Host, attrs map[string]string) *hosttest.Host {
	const at = "/sys/class/watchdog/watchdog0"
	h.Link(at+"/device", "/sys/devices/pci0000:00/0000:00:1f.4/iTCO_wdt")
	h.Link("/sys/devices/pci0000:00/0000:00:1f.4/iTCO_wdt/driver", "/sys/bus/platform/drivers/iTCO_wdt")
	h.Link("/sys/bus/platform/drivers/iTCO_wdt/module", "/sys/module/iTCO_wdt")
	all := map[string]string{"identity": "iTCO_wdt", "timeout": "30", "nowayout": "0", "state": "inactive"}
	for name, value := range attrs {
		all[name] = value
	}
	for name, value := range all {
		h.Put(at+"/"+name, value+"\n")
	}
	return h
}

func TestLook(t *testing.T) {
	holds := func(pid, comm, device string) func(*hosttest.Host) {
		return func(h *hosttest.Host) {
			h.Put("/proc/"+pid+"/comm", comm+"\n")
			h.Link("/proc/"+pid+"/fd/7", device)
		}
	}
	cases := map[string]struct {
		attrs  map[string]string
		change func(*hosttest.Host)
		arms   int64
		note   string
	}{
		"idle":                  {arms: 600},
		"counts less":           {attrs: map[string]string{"max_timeout": "300"}, arms: 300},
		"counts too little":     {attrs: map[string]string{"max_timeout": "15"}, note: "counts to 15 s"},
		"systemd has it":        {attrs: map[string]string{"state": "active"}, change: holds("1", "systemd", "/dev/watchdog0"), note: "RebootWatchdogSec"},
		"a daemon has it":       {attrs: map[string]string{"state": "active"}, change: holds("812", "watchdog", "/dev/watchdog"), note: "started by watchdog"},
		"the firmware began it": {attrs: map[string]string{"state": "active"}, note: "started by the firmware"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := loaded(nuc(t), c.attrs)
			if c.change != nil {
				c.change(h)
			}
			f := Look(h, release)
			if f == nil || f.Device != "/dev/watchdog0" || f.Driver != "iTCO_wdt" || f.Timeout != 30 {
				t.Fatalf("%+v", f)
			}
			if f.RebootTimeout != c.arms || !strings.Contains(f.Note, c.note) || (c.arms == 0) != (f.Note != "") {
				t.Errorf("arms with %d s, note %q", f.RebootTimeout, f.Note)
			}
			if want := []string{"i2c_i801", "iTCO_wdt"}; !slices.Equal(f.Modules, want) {
				t.Errorf("modules %v, want %v", f.Modules, want)
			}
		})
	}
}

// Debian does not load such drivers by itself; stage 2 does. Not those of network cards, nor of what is plugged in.
func TestDriverThatIsNotLoaded(t *testing.T) {
	f := Look(nuc(t), release)
	if f == nil || f.Device != "" || f.RebootTimeout != 0 || !slices.Equal(f.Modules, []string{"i2c_i801", "iTCO_wdt"}) {
		t.Errorf("%+v", f)
	}
}

// A timer of the kernel itself is none, and hardware that nobody knows is not counted on.
func TestNoHardware(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/sys/class/watchdog/watchdog0/identity": "Software Watchdog\n"})
	if f := Look(h, release); f != nil {
		t.Errorf("softdog: %+v", f)
	}
	h.Put("/sys/class/watchdog/watchdog1/identity", "Broadcom BCM2835 Watchdog timer\n")
	h.Put("/sys/class/watchdog/watchdog1/max_timeout", "0\n")
	if f := Look(h, release); f == nil || f.Device != "/dev/watchdog1" || f.RebootTimeout != 0 || !strings.Contains(f.Note, "not known") {
		t.Errorf("%+v", f)
	}
}
