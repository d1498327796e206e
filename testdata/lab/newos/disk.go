package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// moduleList names the modules of the initramfs, in the order in which they load.
const moduleList = "/modules/order"

// loadModules loads every module of the list. One that the machine has no use for, or that is
// loaded already, is no error; what is really missing shows when the disk doesn't appear.
func loadModules() error {
	list, err := os.ReadFile(moduleList)
	if err != nil {
		return fmt.Errorf("module list: %w", err)
	}
	for _, name := range strings.Fields(string(list)) {
		file, err := os.Open(filepath.Join(filepath.Dir(moduleList), name))
		if err != nil {
			return fmt.Errorf("module: %w", err)
		}
		_ = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
	}
	return nil
}

// waitLabels waits until every label is the label of a block device's file system and returns
// the devices' names by label.
func waitLabels(want ...string) (map[string]string, error) {
	deadline := time.Now().Add(diskTimeout)
	for {
		found := labels()
		missing := []string{}
		for _, label := range want {
			if found[label] == "" {
				missing = append(missing, label)
			}
		}
		if len(missing) == 0 {
			return found, nil
		}
		if time.Now().After(deadline) {
			return found, fmt.Errorf("file systems %s not found in %v", strings.Join(missing, ", "), diskTimeout)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// labels returns the block devices that hold a FAT or ext file system, by its label.
func labels() map[string]string {
	found := map[string]string{}
	devices, _ := filepath.Glob("/sys/class/block/*")
	for _, dev := range devices {
		name := filepath.Base(dev)
		if label := readLabel("/dev/" + name); label != "" {
			found[label] = name
		}
	}
	return found
}

// readLabel returns the label of the file system on a device, or nothing.
func readLabel(device string) string {
	file, err := os.Open(device)
	if err != nil {
		return ""
	}
	defer file.Close()
	head := make([]byte, 2048)
	if n, _ := file.ReadAt(head, 0); n < len(head) {
		return ""
	}
	trim := func(b []byte) string { return string(bytes.TrimRight(b, " \x00")) }
	switch {
	case binary.LittleEndian.Uint16(head[1080:]) == 0xEF53: // s_magic of ext2, ext3, ext4
		return trim(head[1144:1160]) // s_volume_name
	case bytes.HasPrefix(head[54:], []byte("FAT")): // FAT12 and FAT16
		return trim(head[43:54])
	case bytes.HasPrefix(head[82:], []byte("FAT32")):
		return trim(head[71:82])
	}
	return ""
}

// mountReadOnly mounts a device as the kernel knows it at dir.
func mountReadOnly(device, dir, fsType string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/dev/"+device, dir, fsType, unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount of %s (%s): %w", device, fsType, err)
	}
	return nil
}
