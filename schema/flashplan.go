package schema

// FlashPlanName is the name and version of the plan in the initramfs.
const FlashPlanName = "flash-plan/1"

// FlashPlan is all that stage 2 needs to know. build-initramfs writes it, stage 2 reads it; both are the same
// executable, so they never differ in version. Archive paths are absolute paths in the initramfs.
type FlashPlan struct {
	Schema string `json:"schema"`
	// Disk is written over; Root is the old system's root, where stage 2 disarms and leaves its outcome.
	Disk Disk       `json:"disk"`
	Root FileSystem `json:"root"`
	// WorkDir lies on the file system WorkFS: its path there, not where it was mounted. Where the old system's work dir is
	// out of reach, it is another directory for the outcome, and without a UUID of WorkFS there is none.
	WorkFS  FileSystem `json:"work_fs"`
	WorkDir string     `json:"work_dir"`
	// Log is a partition on another disk that gets the log (S23), nil for none.
	Log *FileSystem `json:"log,omitempty"`
	// Modules are kernel modules of the archive in the order in which they are loaded.
	Modules []string `json:"modules"`
	Image   FileRef  `json:"image"`
	// Index is the image's index in the archive (image-index/1).
	Index      ArchiveFile   `json:"index"`
	Backup     *FileRef      `json:"backup,omitempty"`
	ConfigJSON ArchiveFile   `json:"config_json"`
	Networks   []ArchiveFile `json:"networks"`
	Stage2     Stage2Config  `json:"stage2"`
	// Alone says that there is no initramfs of the host's beside this one, and so no /init to come back by.
	Alone bool `json:"alone,omitempty"`
	// Kexec says that the old system's kernel started this one: nothing is armed on the disk, and a reboot is the way back.
	Kexec bool `json:"kexec,omitempty"`
	// Layered says that Root lies in layers that stage 2 does not have, such as LVM: it is not mounted, and Disk is found
	// without it.
	Layered bool `json:"layered,omitempty"`
	// BootFiles go onto the new boot partition: what a flasher would have put there (E27).
	BootFiles []BootFile `json:"boot_files,omitempty"`
	// BootCode is put on the disk beside the image, nil for an image that has its own (S57).
	BootCode *BootCodePlan `json:"boot_code,omitempty"`
	// MaxBadBlocks is how many blocks that can't be read are allowed, N or N%; empty for no test (S31).
	MaxBadBlocks string `json:"max_bad_blocks,omitempty"`
	// Watchdog is nil when the hardware watchdog is to be left alone.
	Watchdog *WatchdogPlan `json:"watchdog,omitempty"`
	// KernelRelease is what the modules were built for.
	KernelRelease string `json:"kernel_release"`
}

// WatchdogPlan is how stage 2 comes by a hardware watchdog. Modules are loaded first of all; without them it still uses what
// the kernel has.
type WatchdogPlan struct {
	Modules []string `json:"modules"`
}

// BootCodePlan is GRUB for a BIOS: boot.img and core.img in the archive.
type BootCodePlan struct {
	BootImg ArchiveFile `json:"boot_img"`
	CoreImg ArchiveFile `json:"core_img"`
}

// ArchiveFile is a file of the initramfs; Name is its file name on the new system.
type ArchiveFile struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"`
}

// BootFile is a file of the initramfs that goes to the path To of the new boot partition.
type BootFile struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"`
	To     string `json:"to"`
}

// Archived is where the file is in the initramfs.
func (b BootFile) Archived() ArchiveFile {
	return ArchiveFile{Name: b.Name, Path: b.Path, Size: b.Size, SHA256: b.SHA256}
}
