package image

import (
	"reflect"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// E28: what a machine's firmware finds in an image, whatever it is packed in.
func TestStarts(t *testing.T) {
	efi := balenaDisk()
	efi.files["EFI/BOOT/BOOTX64.EFI"], efi.files["EFI/BOOT/bootaa64.efi"], efi.files["EFI/BOOT/grub.cfg"] = "MZ", "MZ", "set default=0\n"
	bios := balenaDisk()
	bios.bootAt = 4
	bios.files["grub/grub.cfg"], bios.files["vmlinuz"] = "set default=0\n", "kernel"
	gpt := balenaDisk()
	gpt.table, gpt.name = "gpt", "resin-boot"
	withCode := func(raw []byte) []byte { copy(raw, "\xeb\x63\x90"); return raw }
	for name, c := range map[string]struct {
		raw  []byte
		want schema.StartFacts
	}{
		"EFI":      {efi.build(t), schema.StartFacts{Loaders: []string{"bootaa64.efi", "bootx64.efi"}, Gap: mib - 512}},
		"BIOS":     {withCode(bios.build(t)), schema.StartFacts{Loaders: []string{}, BootCode: true, Gap: 4*mib - 512, GrubCfg: true, Kernel: true}},
		"GPT":      {gpt.build(t), schema.StartFacts{Loaders: []string{}}},
		"by flash": {balenaDisk().build(t), schema.StartFacts{Loaders: []string{}, Gap: mib - 512}},
	} {
		b := newBench(t, pack(t, c.raw))
		f := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image
		if f.Starts == nil || !reflect.DeepEqual(*f.Starts, c.want) {
			t.Errorf("%s: %+v, want %+v", name, f.Starts, c.want)
		}
	}
}
