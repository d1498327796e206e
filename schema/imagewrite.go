package schema

// ImageWriteName is the name and version of what `image write` answers.
const ImageWriteName = "image-write/1"

// ImageWrite is an image that was written to a disk and read back. Sizes are in bytes, times in seconds.
type ImageWrite struct {
	Schema string `json:"schema"`
	Image  string `json:"image"`
	// Disk is the device or file; its serial number and model are empty for a file, and where there is none.
	Disk     string `json:"disk"`
	Model    string `json:"model"`
	Serial   string `json:"serial"`
	DiskSize int64  `json:"disk_size_bytes"`
	RawSize  int64  `json:"raw_size_bytes"`
	// DataSize is what was not all zeros.
	DataSize int64 `json:"data_size_bytes"`
	// Write includes the flush; ReadBack is the comparison of all of it.
	Write    float64 `json:"write_s"`
	ReadBack float64 `json:"read_back_s"`
	// Mended counts chunks that read back wrong and were written again; Retries all that failed and then did not.
	Mended  int    `json:"mended"`
	Retries int64  `json:"retries"`
	Changed bool   `json:"changed"`
	Failed  bool   `json:"failed"`
	Msg     string `json:"msg"`
}
