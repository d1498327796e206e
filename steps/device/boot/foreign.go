package boot

// Foreign names the boot loader that has no back end here, with the file that gave it away; empty where one that
// has is at home, where GRUB's configuration is, or where nothing known is.
func Foreign(s Site) string {
	if _, err := s.Stat(grubCfg); err == nil || !(Grub{}).Here(s) {
		return ""
	}
	for _, l := range []struct{ name, file string }{
		{"U-Boot of an unknown board", "/boot/uEnv.txt"},
		{"U-Boot with an old layout", "/uEnv.txt"},
		{"U-Boot with an old layout", "/boot/uboot/uEnv.txt"},
		{"SYSLINUX, NVIDIA's CBoot or EFI with extlinux.conf", "/boot/extlinux/extlinux.conf"},
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
