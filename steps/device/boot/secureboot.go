package boot

import (
	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// secureBootVar is the variable SecureBoot with the GUID of EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3).
const secureBootVar = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// SecureBootCheck is the name of the check that is about it, for checks.skip.
const SecureBootCheck = "secure-boot"

// SecureBoot is P21: what stands against stage 2 and the new system, neither of which is signed for it. Otherwise state says
// how it is, empty where the firmware's variables can't be read. The file is four bytes of attributes, then the value
// (Documentation/filesystems/efivarfs.rst).
func SecureBoot(r host.Reader) (state string, blocked []schema.Blocked) {
	if _, err := r.Stat("/sys/firmware/efi"); err != nil {
		return "off: the firmware is a BIOS", nil //nolint:nilerr // only EFI has this directory
	}
	data, err := r.ReadFile(secureBootVar)
	switch {
	case err == nil && len(data) == 5 && data[4] == 0:
		return "off", nil
	case err == nil && len(data) == 5:
		return "on", []schema.Blocked{{
			Check: SecureBootCheck, Got: "secure boot is on", Want: "secure boot off",
			Remedy: "switch secure boot off in the firmware's setup: neither stage 2 nor this balenaOS image is signed for it",
		}}
	}
	entries, dirErr := r.ReadDir("/sys/firmware/efi/efivars")
	if _, statErr := r.Stat(secureBootVar); err != nil && dirErr == nil && len(entries) > 0 && statErr != nil {
		return "off: the firmware does not have it", nil
	}
	return "", nil
}
