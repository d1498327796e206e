package lab

// Suite is a Debian release.
type Suite string

// The releases that guests are made of.
const (
	Bookworm Suite = "bookworm" // Debian 12
	Trixie   Suite = "trixie"   // Debian 13
)

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
