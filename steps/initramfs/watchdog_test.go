package initramfs_test

import (
	"slices"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/initramfs"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// The watchdog's driver travels with what it needs, and comes before all others; "off" leaves it at home.
func TestWatchdogDriverTravels(t *testing.T) {
	for choice, want := range map[string][]string{"auto": {flashplan.Modules + "/watchdog.ko", flashplan.Modules + "/i6300esb.ko"}, "off": nil} {
		t.Run(choice, func(t *testing.T) {
			h, in := ready(t)
			in.Config.Boot.Watchdog = choice
			dir := "/lib/modules/" + hosttest.Release
			dep, err := h.ReadFile(dir + "/modules.dep")
			if err != nil {
				t.Fatal(err)
			}
			h.Put(dir+"/modules.dep", string(dep)+"kernel/drivers/watchdog/i6300esb.ko: kernel/drivers/watchdog/watchdog.ko\nkernel/drivers/watchdog/watchdog.ko:\n")
			h.Put(dir+"/modules.alias", "alias pci:v00008086d000025ABsv*sd*bc*sc*i* i6300esb\n")
			h.Put(dir+"/kernel/drivers/watchdog/i6300esb.ko", "driver")
			h.Put(dir+"/kernel/drivers/watchdog/watchdog.ko", "core")
			h.Put("/sys/bus/pci/devices/0000:00:05.0/modalias", "pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00\n")
			res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in)
			data, err := h.ReadFile(res.Facts.Initramfs.Path)
			if err != nil {
				t.Fatal(err)
			}
			files, _ := unpack(t, data)
			plan := &schema.FlashPlan{}
			if err := schema.Decode([]byte(files[flashplan.Plan]), "plan", "flash-plan", plan); err != nil {
				t.Fatal(err)
			}
			if (plan.Watchdog != nil) != (want != nil) || want != nil && !slices.Equal(plan.Watchdog.Modules, want) {
				t.Errorf("plan %+v, want %v", plan.Watchdog, want)
			}
			for _, name := range want {
				if files[name] == "" {
					t.Errorf("%s is not in the archive", name)
				}
			}
			if slices.Contains(res.Facts.Initramfs.Modules, "i6300esb") != (want != nil) {
				t.Errorf("facts name the modules %v", res.Facts.Initramfs.Modules)
			}
		})
	}
}
