package lab

import "strings"

// Suite is a guest: a Debian release, and after a dash how its disk is laid out, unless it is for BIOS (guest-disk.sh).
type Suite string

// The guests.
const (
	Bookworm        Suite = "bookworm"          // Debian 12
	Trixie          Suite = "trixie"            // Debian 13
	BookwormEFI     Suite = "bookworm-efi"      // Debian 12, GPT, GRUB for EFI
	BookwormEFIBoot Suite = "bookworm-efi-boot" // the same with a separate /boot
)

// Release is the Debian release.
func (s Suite) Release() string {
	release, _, _ := strings.Cut(string(s), "-")
	return release
}

// layout is the disk's, as guest-disk.sh names it.
func (s Suite) layout() string {
	_, layout, found := strings.Cut(string(s), "-")
	if !found {
		return "bios"
	}
	return layout
}

// Networks returns the SSIDs that the guest knows: the first three from
// /etc/wpa_supplicant/wpa_supplicant.conf (passphrase; ready-made key, hidden, SSID written in
// hex; open), the last from a keyfile of NetworkManager.
func Networks() []string {
	return []string{"lab-home", "lab-office", "lab-guests", "lab-van"}
}

// Secrets returns the keys of Networks, as they are written in the guest. None may ever show up
// in a result, a log or a diff.
func Secrets() []string {
	return []string{
		"canary-home-passphrase",
		"ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a",
		"canary-van-passphrase",
	}
}

// DataDirs returns the guest's folders that are worth a backup: small files of the user pi with an
// odd name, a link and an empty folder; 4 MiB that don't compress.
func DataDirs() []string { return []string{"/srv/app", "/srv/db"} }
