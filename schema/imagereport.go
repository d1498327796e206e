package schema

// ImageReportName is the name and version of the answer of `balena-migrate image inspect|extract|verify`.
const ImageReportName = "image-report/1"

// ImageReport says what an image file is. Sizes and offsets are in bytes. Members that are left out were not looked at,
// or can't be known without more work than the command does: RawSize of a stream whose end alone tells it, the digests
// unless the whole file was read. Failed, Changed, Msg, Blocked and Error mean what they mean in a Result.
type ImageReport struct {
	Schema  string    `json:"schema"`
	Command string    `json:"command"`
	Status  string    `json:"status"`
	Changed bool      `json:"changed"`
	Failed  bool      `json:"failed"`
	Msg     string    `json:"msg"`
	Blocked []Blocked `json:"blocked"`
	Error   *Error    `json:"error,omitempty"`
	File    string    `json:"file"`
	// Format is raw, gzip, zip, xz, zstd, bzip2, or flashable for a gzip file with its index beside it.
	Format     string           `json:"format,omitempty"`
	FileSize   int64            `json:"file_bytes,omitempty"`
	FileSHA256 string           `json:"file_sha256,omitempty"`
	RawSize    int64            `json:"raw_bytes,omitempty"`
	RawSHA256  string           `json:"raw_sha256,omitempty"`
	DataSize   *int64           `json:"data_bytes,omitempty"`
	Table      string           `json:"table,omitempty"`
	TableID    string           `json:"table_id,omitempty"`
	SectorSize int64            `json:"sector_bytes,omitempty"`
	Partitions []ImagePartition `json:"partitions,omitempty"`
	DeviceType string           `json:"device_type,omitempty"`
	Arch       string           `json:"arch,omitempty"`
	Flasher    bool             `json:"flasher,omitempty"`
	// Output is what extract wrote, OutputSize and OutputSHA256 are of it.
	Output       string `json:"output,omitempty"`
	OutputSize   int64  `json:"output_bytes,omitempty"`
	OutputSHA256 string `json:"output_sha256,omitempty"`
}

// ImagePartition is a partition of an image and the file system on it, as blkid would name it.
type ImagePartition struct {
	Number   int    `json:"number"`
	Type     string `json:"type"`
	Name     string `json:"name,omitempty"`
	Start    int64  `json:"start"`
	Size     int64  `json:"size_bytes"`
	Bootable bool   `json:"bootable,omitempty"`
	Extended bool   `json:"extended,omitempty"`
	FSType   string `json:"fs_type,omitempty"`
	Label    string `json:"label,omitempty"`
	UUID     string `json:"uuid,omitempty"`
}

// NewImageReport returns the empty report of a command on a file.
func NewImageReport(command, file string) *ImageReport {
	return &ImageReport{Schema: ImageReportName, Command: command, File: file, Status: Converged, Blocked: []Blocked{}}
}
