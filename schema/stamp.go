package schema

// StampName is the name and version of the note kept beside a costly product.
const StampName = "stamp/1"

// Stamp keeps a costly truth cheap: the recipe a product was made by, and for the files it was made from and for the
// product itself what stat(2) said when they were last read whole. A file that still looks the same is not read again.
type Stamp struct {
	Schema string `json:"schema"`
	// Recipe is a digest of everything else that the product depends on.
	Recipe string      `json:"recipe"`
	Files  []FileStamp `json:"files"`
	// Facts are the facts of the step that made it.
	Facts Facts `json:"facts"`
}

// FileStamp is a file as it was when its digest was taken.
type FileStamp struct {
	Path    string `json:"path"`
	Size    int64  `json:"size_bytes"`
	MtimeNS int64  `json:"mtime_ns"`
	Inode   uint64 `json:"inode"`
	SHA256  string `json:"sha256"`
}
