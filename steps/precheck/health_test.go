package precheck

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
)

// D11: what an eMMC says of its wear, and what ext4 has counted, decides; what is not told or not understood does not.
func TestHealth(t *testing.T) {
	const life, eol, ext4 = sysDisk + "/device/life_time", sysDisk + "/device/pre_eol_info", "/sys/fs/ext4/vda1/errors_count"
	cases := map[string]struct {
		files  map[string]string
		status string
		got    string
	}{
		"nothing told":      {nil, passed, "not known: the kernel tells nothing"},
		"not defined":       {map[string]string{life: "0x00 0x00\n", eol: "0x00\n"}, passed, "not known"},
		"another form":      {map[string]string{life: "new\n", eol: "\n"}, passed, "not known"},
		"new":               {map[string]string{life: "0x01 0x01\n", eol: "0x01\n"}, passed, "cells of type B: 0 to 10 % of its life used (life_time 0x01); spare blocks as they should be"},
		"only one type":     {map[string]string{life: "0x00 0x03\n"}, passed, "cells of type B: 20 to 30 %"},
		"used":              {map[string]string{life: "0x08 0x08\n", eol: "0x01\n"}, passed, "70 to 80 %"},
		"old":               {map[string]string{life: "0x02 0x09\n", eol: "0x01\n"}, warned, "cells of type B: 80 to 90 %"},
		"few spare blocks":  {map[string]string{life: "0x02 0x02\n", eol: "0x02\n"}, warned, "80 % or more of the spare blocks"},
		"beyond its life":   {map[string]string{life: "0x01 0x0b\n"}, blocked, "cells of type B: its life is used up (life_time 0x0b)"},
		"out of spares":     {map[string]string{life: "0x01 0x01\n", eol: "0x03\n"}, blocked, "90 % or more of the spare blocks"},
		"file system error": {map[string]string{ext4: "7\n"}, warned, "the file system on vda1 has met 7 errors"},
		"no such error":     {map[string]string{ext4: "0\n", life: "0x01 0x01\n"}, passed, "0 to 10 %"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h, in := machines()[0].start(t)
			for file, text := range c.files {
				h.Put(file, text)
			}
			res := converge(t, h, in)
			got := status(t, res, "disk-health")
			if got.Status != c.status || !strings.Contains(got.Got, c.got) {
				t.Errorf("%+v, want %s, %q", got, c.status, c.got)
			}
			if wants := c.status == warned; wants != (len(res.Warnings) == 1) || (c.status == blocked) != (res.Status == schema.BlockedBy) {
				t.Errorf("status %s, warnings %v, blocked %v", res.Status, res.Warnings, res.Blocked)
			}
		})
	}
}

// FuzzWear: whatever sysfs holds, something is said if and only if something was told, and a spent medium is never passed.
func FuzzWear(f *testing.F) {
	for _, s := range []string{"0x01 0x0b", "0x00", "x", "0xff 0xff 0xff", "", "0x03"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		text, worst := lifeTime(value)
		if (text != "") != (worst > 0) || worst > 255 || strings.Contains(text, "used up") != (worst >= lifeSpent) {
			t.Errorf("%q: %q, %d", value, text, worst)
		}
		if text, worst := preEOL(value); worst > 0 && text == "" || worst > lifeSpent {
			t.Errorf("%q: %q, %d", value, text, worst)
		}
	})
}
