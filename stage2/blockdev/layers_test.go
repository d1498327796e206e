package blockdev_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// A machine with disks sda and sdb, and layers over their partitions.
func layers(t *testing.T) *hosttest.Host {
	t.Helper()
	h := hosttest.New(t, nil)
	class := func(name, dir string) { h.Link("/sys/class/block/"+name, dir) }
	for _, disk := range []string{"sda", "sdb"} {
		dir := "/sys/devices/pci0/block/" + disk
		h.Put(dir+"/size", "1\n")
		h.Link("/sys/block/"+disk, dir)
		class(disk, dir)
		for _, n := range []string{"1", "2"} {
			h.Put(dir+"/"+disk+n+"/partition", n+"\n")
			class(disk+n, dir+"/"+disk+n)
		}
	}
	for name, below := range map[string][]string{
		"md0": {"sda1", "sdb1"}, "dm-0": {"md0"}, "dm-1": {"dm-0"}, "dm-2": {"sda2"}, "dm-3": {"sdb"}, "dm-4": {"dm-4"}, "loop0": nil,
	} {
		dir := "/sys/devices/virtual/block/" + name
		h.Put(dir+"/size", "1\n")
		h.Link("/sys/block/"+name, dir)
		class(name, dir)
		for _, b := range below {
			h.Link(dir+"/slaves/"+b, "/sys/class/block/"+b)
		}
		h.Link("/sys/dev/block/9:"+name, dir)
	}
	h.Put("/sys/devices/virtual/block/md0/md0p1/partition", "1\n")
	class("md0p1", "/sys/devices/virtual/block/md0/md0p1")
	h.Link("/sys/dev/block/9:md0p1", "/sys/devices/virtual/block/md0/md0p1")
	h.Link("/sys/dev/block/8:1", "/sys/devices/pci0/block/sda/sda1")
	h.Put("/sys/fs/btrfs/features/x", "1\n")
	for id, devices := range map[string][]string{"one": {"sda2"}, "two": {"sda1", "sdb1"}, "mapped": {"dm-2"}} {
		for _, d := range devices {
			h.Put("/sys/fs/btrfs/"+id+"/devices/"+d+"/size", "1\n")
		}
	}
	h.Link("/dev/mapper/x", "../dm-2")
	return h
}

func TestDisksOf(t *testing.T) {
	h := layers(t)
	for _, c := range []struct {
		m     blockdev.Mount
		disks string // none is an error
		name  string // of the device, none where there are several
	}{
		{m: blockdev.Mount{Device: "8:1"}, disks: "sda", name: "sda1"},
		{m: blockdev.Mount{Device: "9:md0"}, disks: "sda sdb", name: "md0"},
		{m: blockdev.Mount{Device: "9:md0p1"}, disks: "sda sdb", name: "md0p1"},
		{m: blockdev.Mount{Device: "9:dm-1"}, disks: "sda sdb", name: "dm-1"}, // LVM in LUKS on RAID
		{m: blockdev.Mount{Device: "9:dm-2"}, disks: "sda", name: "dm-2"},
		{m: blockdev.Mount{Device: "9:dm-3"}, disks: "sdb", name: "dm-3"},
		{m: blockdev.Mount{Device: "9:dm-4"}, name: "dm-4"}, // below itself, which is none
		{m: blockdev.Mount{Device: "9:loop0"}, name: "loop0"},
		{m: blockdev.Mount{Device: "0:1", Type: "btrfs", Source: "/dev/sda2"}, disks: "sda", name: "sda2"},
		{m: blockdev.Mount{Device: "0:1", Type: "btrfs", Source: "/dev/sdb1"}, disks: "sda sdb"},
		{m: blockdev.Mount{Device: "0:1", Type: "btrfs", Source: "/dev/mapper/x"}, disks: "sda", name: "dm-2"},
		{m: blockdev.Mount{Device: "0:1", Type: "btrfs", Source: "/dev/sdb2"}},
		{m: blockdev.Mount{Device: "0:1", Type: "zfs", Source: "rpool/root"}},
		{m: blockdev.Mount{Device: "0:1", Type: "overlay", Source: "overlay"}},
	} {
		got, err := blockdev.DisksOf(h, c.m)
		if strings.Join(got, " ") != c.disks || (err == nil) != (c.disks != "") || err != nil && !errors.Is(err, blockdev.ErrLayered) {
			t.Errorf("%+v: %q, %v; want %q", c.m, got, err, c.disks)
		}
		name, err := blockdev.NameOf(h, c.m)
		if name != c.name || (err == nil) != (c.name != "") || err != nil && !errors.Is(err, blockdev.ErrLayered) {
			t.Errorf("%+v: device %q, %v; want %q", c.m, name, err, c.name)
		}
	}
}

// A partition of a RAID is on no plain disk.
func TestDiskOfLayers(t *testing.T) {
	h := layers(t)
	for name, want := range map[string]string{"sda2": "sda", "md0p1": "", "dm-2": "", "md0": ""} {
		got, err := blockdev.DiskOf(h, name)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, blockdev.ErrLayered) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if names, err := blockdev.Names(h); err != nil || !slices.Equal(names, []string{"sda", "sdb"}) {
		t.Errorf("%q %v", names, err)
	}
}
