package schema

// ImageDownloadName is the name and version of the note beside a downloaded image.
const ImageDownloadName = "image-download/1"

// ImageDownload says how far the download of an image is. The address is kept as a digest, for its query may be a
// credential. ETag (a strong one) and LastModified are the server's own words, by which it is asked whether its file is
// still the same. Size is -1 while nobody knows it. Have bytes are on the disk for certain; SHA256 is set once all are.
type ImageDownload struct {
	Schema       string `json:"schema"`
	URLSHA256    string `json:"url_sha256"`
	ETag         string `json:"etag"`
	LastModified string `json:"last_modified"`
	Size         int64  `json:"size_bytes"`
	Have         int64  `json:"have_bytes"`
	SHA256       string `json:"sha256"`
}
