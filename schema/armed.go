package schema

// ArmedName is the name and version of the record of an armed boot loader.
const ArmedName = "armed/1"

// Armed is written before the first byte of the boot configuration changes, and says how to put every byte back.
// disarm reads it on the running system, stage 2 from the initramfs.
type Armed struct {
	Schema string      `json:"schema"`
	Method string      `json:"method"`
	BootID string      `json:"boot_id"`
	Files  []ArmedFile `json:"files"`
	// Loaded sums up what the kernel was given for kexec in that boot, empty for other methods.
	Loaded string `json:"loaded_sha256,omitempty"`
}

// How a file that is no longer as armed is put back.
const (
	// RestoreFile puts the original back if the file still is as armed; else it only takes our fenced block out.
	RestoreFile = "file"
	// RestoreGrubenv puts the original back if nothing but next_entry differs; else it only clears next_entry.
	RestoreGrubenv = "grubenv"
	// RestoreRemove removes a file that is wholly ours.
	RestoreRemove = "remove"
)

// ArmedFile is one file of the boot configuration. Path is on the running system, FSPath inside the file system
// FSUUID. Original is the content before arming; Existed says whether there was any.
type ArmedFile struct {
	Restore     string `json:"restore"`
	Path        string `json:"path"`
	FSUUID      string `json:"fs_uuid"`
	FSType      string `json:"fs_type"`
	FSPath      string `json:"fs_path"`
	Existed     bool   `json:"existed"`
	Mode        uint32 `json:"mode"`
	Original    []byte `json:"original"`
	ArmedSHA256 string `json:"armed_sha256"`
}
