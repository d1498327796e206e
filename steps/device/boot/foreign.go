package boot

// Foreign names the boot loader that has no back end here, with the file that gave it away; empty on a Raspberry Pi, where
// GRUB's configuration is, or where nothing known is.
func Foreign(s Site) string {
	if _, err := s.Stat(grubCfg); err == nil || isRaspberryPi(s) {
		return ""
	}
	for _, l := range []struct{ name, file string }{
		{"U-Boot of a BeagleBone", "/boot/uEnv.txt"},
		{"U-Boot", "/uEnv.txt"},
		{"U-Boot or another loader of extlinux.conf", "/boot/extlinux/extlinux.conf"}, // also CBoot on a Jetson
		{"U-Boot", "/boot/boot.scr"},
		{"systemd-boot", "/boot/loader/loader.conf"},
		{"systemd-boot", "/boot/efi/loader/loader.conf"},
		{"systemd-boot", "/efi/loader/loader.conf"},
		{"SYSLINUX", "/boot/syslinux/syslinux.cfg"},
		{"LILO", "/etc/lilo.conf"},
	} {
		if _, err := s.Stat(l.file); err == nil {
			return l.name + " (" + l.file + ")"
		}
	}
	return ""
}
