package schema

// Facts is all that the steps found out, one section per step. A section that is missing is a step that has not
// converged yet. Facts say what is, never what will be, and hold no secret: files that do are named by path.
type Facts struct {
	Host      *HostFacts      `json:"host,omitempty"`
	Image     *ImageFacts     `json:"image,omitempty"`
	Network   *NetworkFacts   `json:"network,omitempty"`
	Backup    *BackupFacts    `json:"backup,omitempty"`
	Initramfs *InitramfsFacts `json:"initramfs,omitempty"`
	Boot      *BootFacts      `json:"boot,omitempty"`
	Reboot    *RebootFacts    `json:"reboot,omitempty"`
}

// HostFacts is what precheck saw.
type HostFacts struct {
	Hostname string `json:"hostname"`
	Arch     string `json:"arch"`
	// Executable is the build of this program that stage 2 needs, Userland the architecture of the system's programs.
	Executable    string      `json:"executable,omitempty"`
	Userland      string      `json:"userland,omitempty"`
	Board         *BoardFacts `json:"board,omitempty"`
	OS            OSFacts     `json:"os"`
	KernelRelease string      `json:"kernel_release"`
	Firmware      string      `json:"firmware"`
	BootMethod    string      `json:"boot_method"`
	DeviceTypes   []string    `json:"device_types"`
	Disk          *Disk       `json:"disk,omitempty"`
	Root          *FileSystem `json:"root,omitempty"`
	Boot          *FileSystem `json:"boot,omitempty"`
	Memory        MemoryFacts `json:"memory"`
	// Watchdog is nil for a machine without one.
	Watchdog *WatchdogFacts `json:"watchdog,omitempty"`
	WorkFree int64          `json:"work_free_bytes"`
	WriteKBs int64          `json:"write_kb_s"`
	Checks   []Check        `json:"checks"`
}

// BoardFacts is what the machine says of itself: by device tree and revision code, or by DMI.
type BoardFacts struct {
	Model      string   `json:"model,omitempty"`
	Compatible []string `json:"compatible,omitempty"`
	Revision   string   `json:"revision,omitempty"`
	Vendor     string   `json:"vendor,omitempty"`
	Product    string   `json:"product,omitempty"`
}

// WatchdogFacts is the hardware watchdog, which resets a machine that hangs. Timeouts are in seconds, MaxTimeout is 0 where
// it is not known. Device and what follows it is of the running system, empty where its driver is not loaded.
type WatchdogFacts struct {
	Device     string `json:"device"`
	Identity   string `json:"identity"`
	Driver     string `json:"driver"`
	Timeout    int64  `json:"timeout_s"`
	MaxTimeout int64  `json:"max_timeout_s"`
	NoWayOut   bool   `json:"nowayout"`
	// HeldBy names who keeps it running now.
	HeldBy string `json:"held_by"`
	// RebootTimeout is what step reboot arms it with; 0 when it leaves it alone, and Note then says why.
	RebootTimeout int64  `json:"reboot_timeout_s"`
	Note          string `json:"note"`
	// Modules are the drivers that stage 2 loads.
	Modules []string `json:"modules"`
}

// OSFacts is /etc/os-release in short (os-release(5)).
type OSFacts struct {
	ID        string `json:"id"`
	VersionID string `json:"version_id"`
	Name      string `json:"name"`
}

// MemoryFacts is in bytes: what the machine has, and what stage 2 will hold at once, 0 where not known yet (F7).
type MemoryFacts struct {
	Total int64 `json:"total_bytes"`
	Need  int64 `json:"need_bytes"`
	// Held is the part of Need that holds the image and the backup; InPlace is what is read from the disk instead.
	Held    int64 `json:"held_bytes,omitempty"`
	InPlace int64 `json:"in_place_bytes,omitempty"`
	// Carried is what of image and backup travels in the initramfs.
	Carried int64 `json:"carried_bytes,omitempty"`
	// Alone says that stage 2 is started without the host's own initramfs.
	Alone bool `json:"alone,omitempty"`
}

// Check is the outcome of one of precheck's checks: pass, warn, block or skip.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Got    string `json:"got"`
}

// Disk identifies a whole disk so that it is found again under any name. Size is in bytes; TableID is the MBR
// disk signature (8 hex digits) or the GPT disk GUID.
type Disk struct {
	Name       string `json:"name"`
	Size       int64  `json:"size_bytes"`
	SectorSize int64  `json:"sector_bytes"`
	Serial     string `json:"serial"`
	Model      string `json:"model"`
	Table      string `json:"table"`
	TableID    string `json:"table_id"`
}

// FileSystem identifies a mounted file system.
type FileSystem struct {
	Device string `json:"device"`
	Type   string `json:"type"`
	UUID   string `json:"uuid"`
	Mount  string `json:"mount"`
}

// FileRef finds a file again from an initramfs: by file system and by the path inside that file system. Extents are the
// parts that are read from the disk to be flashed, in the file's order; the rest is held in memory.
type FileRef struct {
	FSUUID  string   `json:"fs_uuid"`
	FSType  string   `json:"fs_type"`
	Path    string   `json:"path"`
	Size    int64    `json:"size_bytes"`
	SHA256  string   `json:"sha256"`
	Extents []Extent `json:"extents,omitempty"`
}

// Extent is a run of a file's bytes and where it lies on the whole disk, all in bytes.
type Extent struct {
	Logical    int64 `json:"logical"`
	DiskOffset int64 `json:"disk_offset"`
	Length     int64 `json:"length"`
}

// Placement is where a file lies that stage 2 needs. Written is the part of the disk, from its beginning, that the flash
// writes: InPlace bytes of the file lie beyond it and are read there, Held bytes are taken into memory before. Note says
// why some are held, empty when none are.
type Placement struct {
	Written int64  `json:"written_bytes"`
	InPlace int64  `json:"in_place_bytes"`
	Held    int64  `json:"held_bytes"`
	Note    string `json:"note"`
}

// ImageFacts is the image ready to be flashed. Path and Index are in the work dir.
type ImageFacts struct {
	Path         string `json:"path"`
	Index        string `json:"index"`
	GzipSize     int64  `json:"gzip_bytes"`
	GzipSHA256   string `json:"gzip_sha256"`
	RawSize      int64  `json:"raw_bytes"`
	RawSHA256    string `json:"raw_sha256"`
	DataSize     int64  `json:"data_bytes"`
	SourceSHA256 string `json:"source_sha256"`
	Table        string `json:"table"`
	DeviceType   string `json:"device_type"`
	Arch         string `json:"arch"`
	// Placement is where Path lies on the disk, nil while the disk is not known.
	Placement *Placement `json:"placement,omitempty"`
	// OSVersion is the version of balenaOS in it, empty if it does not say.
	OSVersion string `json:"os_version,omitempty"`
	// Flasher says that the image was taken out of a flasher image (E24).
	Flasher    bool             `json:"flasher,omitempty"`
	Partitions []PartitionFacts `json:"partitions,omitempty"`
	// Starts is what firmware can start it by, nil where nobody looked.
	Starts *StartFacts `json:"starts,omitempty"`
	// Extras are what a flasher image brought along, in a directory of the work dir (E27). They may hold keys.
	Extras []ExtraFile `json:"extras,omitempty"`
}

// StartFacts is what of an image firmware or a boot loader looks for. Loaders are the EFI programs under the removable path
// (UEFI 2.10, 3.5.1.1), by their names in lower case; BootCode says that its first sector has any; Gap is how many bytes lie
// between that and the first partition, 0 for a GPT. GrubCfg and Kernel say that its boot partition has /grub/grub.cfg and
// /vmlinuz.
type StartFacts struct {
	Loaders  []string `json:"loaders"`
	BootCode bool     `json:"boot_code"`
	Gap      int64    `json:"gap_bytes"`
	GrubCfg  bool     `json:"grub_cfg"`
	Kernel   bool     `json:"kernel"`
}

// PartitionFacts is a partition of the image. Start and Size are in bytes; Name is the GPT's, Label and FS are of the
// file system on it.
type PartitionFacts struct {
	Number int    `json:"number"`
	Name   string `json:"name,omitempty"`
	Label  string `json:"label,omitempty"`
	FS     string `json:"fs_type,omitempty"`
	Start  int64  `json:"start"`
	Size   int64  `json:"size_bytes"`
}

// The extras of a flasher image, by the names they have in facts (E27, S72).
const (
	ExtraGrubCfg    = "grub.cfg"
	ExtraUEnv       = "uEnv.txt"
	ExtraBootImg    = "boot.img"
	ExtraCoreImg    = "core.img"
	ExtraConfigJSON = "config.json"
)

// ExtraFile is a file that a flasher would have put on the disk beside the image. From is its path on the flasher's boot
// partition.
type ExtraFile struct {
	Name   string `json:"name"`
	From   string `json:"from"`
	Path   string `json:"path"`
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"`
}

// NetworkFacts lists the connection files that go along; they hold keys and lie 0600 in the work dir. Link is nil where
// no default route says what is in use, System nil where the old system has nothing for config.json.
type NetworkFacts struct {
	Dir         string       `json:"dir"`
	Connections []Connection `json:"connections"`
	Link        *LinkFacts   `json:"link,omitempty"`
	System      *SystemFacts `json:"system,omitempty"`
	Proxy       *ProxyFacts  `json:"proxy,omitempty"`
}

// ProxyFacts is the proxy that the old system's programs are given, for system-proxy on the new boot partition (E31). The
// files in Dir may hold its password; Address, host:port, does not.
type ProxyFacts struct {
	Dir     string      `json:"dir"`
	Source  string      `json:"source"`
	Type    string      `json:"type"`
	Address string      `json:"address"`
	Files   []ProxyFile `json:"files"`
}

// ProxyFile is a file in the directory of the proxy.
type ProxyFile struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Connection is one NetworkManager keyfile of the new system. Source says where it was found, Interface which one it was
// for there, Method how it comes by its IPv4 addresses, Covers whether it carries the link now in use.
type Connection struct {
	File      string `json:"file"`
	SSID      string `json:"ssid"`
	Security  string `json:"security"`
	Source    string `json:"source"`
	SHA256    string `json:"sha256"`
	Kind      string `json:"kind,omitempty"`
	Interface string `json:"interface,omitempty"`
	Method    string `json:"method,omitempty"`
	Covers    bool   `json:"covers,omitempty"`
}

// LinkFacts is the link by which the device is reached now: the one with the default route. CoveredBy is the connection
// file that carries it, or says why none is needed; empty when it is not carried.
type LinkFacts struct {
	Interface string   `json:"interface"`
	Kind      string   `json:"kind"`
	Addresses []string `json:"addresses"`
	CoveredBy string   `json:"covered_by"`
}

// SystemFacts is what the old system has that belongs into config.json where that has nothing of its own (E2).
type SystemFacts struct {
	NTPServers []string `json:"ntp_servers"`
	DNSServers []string `json:"dns_servers"`
}

// BackupFacts is the archive of volumes; Path is empty when there is none. Items are those of the definition, in the
// order of the archive; a script's archive has none.
type BackupFacts struct {
	Path    string       `json:"path"`
	Size    int64        `json:"size_bytes"`
	SHA256  string       `json:"sha256"`
	Volumes []string     `json:"volumes"`
	Files   int64        `json:"files"`
	Items   []BackupItem `json:"items,omitempty"`
	// Placement is where Path lies on the disk, nil while that does not matter yet.
	Placement *Placement `json:"placement,omitempty"`
}

// BackupItem is what went where, in one form for every dialect of definitions (S91–S93). Bytes are those of its files
// before compression, hard links once.
type BackupItem struct {
	Volume string `json:"volume"`
	Source string `json:"source"`
	Target string `json:"target"`
	Filter string `json:"filter"`
	Files  int64  `json:"files"`
	Bytes  int64  `json:"bytes"`
}

// InitramfsFacts is the archive that starts stage 2.
type InitramfsFacts struct {
	Path          string   `json:"path"`
	Size          int64    `json:"size_bytes"`
	SHA256        string   `json:"sha256"`
	KernelRelease string   `json:"kernel_release"`
	Modules       []string `json:"modules"`
	MemoryNeed    int64    `json:"memory_need_bytes"`
	// Held and InPlace are the bytes of image and backup that stage 2 holds in memory, and that it reads from the disk.
	Held    int64 `json:"held_bytes,omitempty"`
	InPlace int64 `json:"in_place_bytes,omitempty"`
	// Carried are the bytes of image and backup that travel in it, because stage 2 could not mount where they lie.
	Carried int64 `json:"carried_bytes,omitempty"`
	// Alone says that memory is too short for the host's own initramfs beside this one.
	Alone bool `json:"alone,omitempty"`
}

// BootFacts is the state of the boot loader. RestartArgument is what the kernel must be restarted with for stage 2 to
// start, empty where any reboot does.
type BootFacts struct {
	Method          string   `json:"method"`
	Armed           bool     `json:"armed"`
	Kernel          string   `json:"kernel"`
	Files           []string `json:"files"`
	RestartArgument string   `json:"restart_argument,omitempty"`
}

// RebootFacts says whether a reboot is on its way. Due is RFC 3339, empty when none is.
type RebootFacts struct {
	BootID  string `json:"boot_id"`
	Pending bool   `json:"pending"`
	Due     string `json:"due"`
	// Watchdog is the device that is armed before the reboot, empty for none.
	Watchdog string `json:"watchdog,omitempty"`
}
