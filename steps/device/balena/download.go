package balena

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/balena-community/balena-migrate/steps/host"
)

// The kinds of images: one for the disk itself, and one that installs it from a medium (E26).
const (
	Raw     = "raw"
	Flasher = "flasher"
)

// Download is an image that can be had by one request. The request holds the key: it is neither to be shown nor stored.
type Download struct {
	DeviceType string
	Version    Version
	// Kind is Raw or Flasher.
	Kind string
	// Request is to be made as it is; its answer is a gzip file, which can be unpacked as it comes
	// and ends with a checksum, for its length is not told.
	Request host.Request
}

// String names it without the request.
func (d Download) String() string {
	return fmt.Sprintf("balenaOS %s for %s, %s image", d.Version, d.DeviceType, d.Kind)
}

// download describes the request for an image (E11).
func (c *Client) download(deviceType string, v Version, kind string) Download {
	q := c.request("/download", url.Values{
		"deviceType": {deviceType}, "version": {v.String()}, "fileType": {".gz"}, "imageType": {kind},
	})
	return Download{DeviceType: deviceType, Version: v, Kind: kind, Request: q}
}

// Resolve finds the version that is wished for and how to download it: the raw image, or the flasher where there is no
// other (P28, P29). It asks the server for both but reads neither.
func (c *Client) Resolve(ctx context.Context, deviceType string, w Wish) (Download, error) {
	v, err := c.Choose(ctx, deviceType, w)
	if err != nil {
		return Download{}, err
	}
	var refused error
	for _, kind := range []string{Raw, Flasher} {
		d := c.download(deviceType, v, kind)
		_, err := c.ask(ctx, d.Request, d.String(), true)
		if err == nil {
			return d, nil
		}
		if !notOffered(err) {
			return Download{}, err
		}
		refused = errors.Join(refused, err)
	}
	return Download{}, refused
}

// notOffered says whether an error is about this image, and not about the server or the key.
func notOffered(err error) bool {
	var r *Refused
	return errors.As(err, &r) && (r.Status == http.StatusBadRequest || r.Status == http.StatusNotFound)
}
