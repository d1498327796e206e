package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/host"
)

// The downloaded file and the note about it, in the work dir. They go when the prepared image is there.
const (
	downloadName = "image.download"
	noteName     = "image.download.json"
)

// remote is an image to be downloaded.
type remote struct {
	job
	url, note string
	// chosen is the image at balena, if the address is not the operator's.
	chosen *balena.Download
	// resolve, if set, finds the address when it is needed.
	resolve func(context.Context) (*balena.Download, error)
	// patience is how often and how long a server is asked.
	patience patience
}

func newRemote(j job) remote {
	r := remote{job: j, url: j.want.URL, note: path.Join(j.dir, noteName), patience: defaultPatience()}
	r.source = path.Join(j.dir, downloadName)
	return r
}

// urlSum stands for the address in files.
func urlSum(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:])
}

// plan compares the work dir with what is wanted. The network is asked only while the image is not here.
func (r remote) plan(ctx context.Context, h host.Reader, plan *steps.Plan) error {
	if r.resolve == nil {
		if err := r.acceptURL(); err != nil {
			return err
		}
	}
	if s := steps.LoadStamp(h, r.stamp); r.fresh(h, s) {
		if err := r.settled(s.Facts.Image, plan); err != nil {
			return err
		}
		r.tidy(h, plan)
		return nil
	}
	if r.complete(h) {
		if err := r.work(ctx, h, plan); err != nil {
			return err
		}
	} else if err := r.ask(ctx, h, plan); err != nil {
		return err
	}
	plan.Add(remove(r.source), remove(r.note))
	return nil
}

// ask plans the download, from what the server says of its file.
func (r remote) ask(ctx context.Context, h host.Reader, plan *steps.Plan) error {
	head := head{size: -1}
	var err error
	if r.resolve != nil {
		if r.chosen, err = r.resolve(ctx); err != nil {
			return err
		}
		r.url = r.chosen.Request.URL
	} else if head, err = r.head(ctx, h); err != nil {
		return err
	}
	if head.size > 0 {
		beside := head.size / 4 * 3
		if r.want.Index != "" {
			beside = 0 // a prepared image is not made again
		}
		if err := r.room(h, head.size-r.partial(h)+beside, 2*head.size); err != nil {
			return err
		}
	}
	r.clear(h, plan, false)
	plan.Add(download{r}, prepare{job: r.job, unseen: true})
	return nil
}

// partial is how much of the file is here, in bytes.
func (r remote) partial(h host.Reader) int64 {
	if note := r.load(h); note != nil {
		return note.Have
	}
	return 0
}

// complete says whether the whole file was downloaded before, and is the one that is wanted.
func (r remote) complete(h host.Reader) bool {
	note := r.load(h)
	if note == nil || note.SHA256 == "" || r.want.SHA256 != "" && r.want.SHA256 != note.SHA256 {
		return false
	}
	info, err := h.Stat(r.source)
	return err == nil && info.Mode().IsRegular() && info.Size() == note.Size
}

// load reads the note about a download of this address; nil if there is none.
func (r remote) load(h host.Reader) *schema.ImageDownload {
	data, err := h.ReadFile(r.note)
	if err != nil {
		return nil
	}
	note := &schema.ImageDownload{}
	if schema.Decode(data, r.note, "image-download", note) != nil || note.URLSHA256 != urlSum(r.origin) {
		return nil
	}
	return note
}

// tidy removes what a run left behind that was killed after the image had been made.
func (r remote) tidy(h host.Reader, plan *steps.Plan) {
	for _, name := range []string{r.source, r.note} {
		if _, err := h.Lstat(name); err == nil {
			plan.Add(remove(name))
		}
	}
}

func remove(name string) steps.Change { return steps.Remove{Place: steps.InFiles, Path: name} }

// acceptURL refuses addresses that are not safe to use.
func (r remote) acceptURL() error {
	u, err := url.Parse(r.url)
	switch {
	case err != nil || u.Host == "":
		return refuse("config.image.url: not an address", "https://host/path", "mend config.image.url")
	case u.User != nil:
		return refuse("config.image.url with a user name or password", "an address without, for addresses are shown in results",
			"take a signed address, or download the file and set config.image.path")
	}
	return r.allow(u)
}

// allow is asked of every address. Without TLS anybody on the way can change what is flashed, unless its digest is
// known.
func (r remote) allow(u *url.URL) error {
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return refuse(fmt.Sprintf("address %s://%s", u.Scheme, u.Host), "https", "mend config.image.url")
	case r.want.SHA256 != "", net.ParseIP(u.Hostname()).IsLoopback(), u.Hostname() == "localhost":
		return nil
	}
	return refuse(fmt.Sprintf("address http://%s without a digest", u.Host), "https, or http with config.image.sha256",
		"use https, or give the image's digest in config.image.sha256")
}
