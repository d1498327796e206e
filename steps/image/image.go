// Package image makes the image ready to be flashed.
//
// The operator's file may be a raw disk image or one in gzip, zip, xz, zstd or bzip2; what it is, its content says and not its name.
// It is only read (S62, S63). Out of it come image.gz and image.index.json in the work dir, see package flashimage, in
// one pass and without a copy of the unpacked image. A file that already is in this form, made on a controller and its
// index beside it, is verified and taken as it is.
//
// An image given by its address is downloaded into the work dir first, because only a stored file can be gone on with
// after a cut (the most that is needed beside the result is the packed file). It is deleted once the result is stamped;
// the stamp knows the address, so another run asks the network nothing.
//
// A flasher image, which would only install another one, is unwrapped while it goes by (E24): its file systems are read
// here, and what comes out is the image in it. What the flasher would have put beside it lies in image.extras (E27).
//
// What should not be flashed is refused before anything is written, for which the beginning of the image is unpacked:
// files that are no disk image, and images of another device type (S65, D9). The stamp makes a second run cost a few
// calls of stat(2).
//
// When the disk to be flashed is known, image.gz is brought to where the flash does not write, if the disk has room: stage
// 2 then need not hold it in memory. See package place.
//
// The step owns image.gz, image.index.json, image.stamp.json, image.extras and image.download* in the work dir; remove
// them to undo it, or any file of them to have the image made anew.
package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
	"github.com/balena-community/balena-migrate/steps/host"
)

// The files of this step in the work dir.
const (
	imageName = "image.gz"
	indexName = "image.index.json"
	stampName = flashplan.ImageStamp
)

// fileMode is that of all three. The image is no secret; nobody else needs it either.
const fileMode fs.FileMode = 0o600

// recipe changes with the files that this program makes of the same image.
const recipe = "image/2"

// check is the name blockers of this step carry.
const check = "image"

// Step makes the image ready to be flashed.
type Step struct{}

// Name implements steps.Step.
func (Step) Name() string { return "prepare-image" }

// ForAnyUser implements steps.ForAnyUser: on a controller an image is prepared by whoever works there.
func (Step) ForAnyUser() {}

// Plan implements steps.Step. Without a fresh stamp it unpacks the beginning of the image, at most up to the end of
// its boot partition.
func (Step) Plan(ctx context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	plan.Facts.Image = nil
	j := newJob(v)
	err := j.choose(ctx, v, &plan)
	if err == nil {
		err = j.place(v, &plan)
	}
	var r *refusal
	if errors.As(err, &r) {
		plan.Blocked = append(plan.Blocked, schema.Blocked(*r))
		return plan, nil
	}
	return plan, err
}

// choose goes by where the image comes from: a file, an address, or balena.
func (j job) choose(ctx context.Context, v steps.View, plan *steps.Plan) error {
	c := j.want
	switch {
	case c.Path != "" && c.URL != "":
		return refuse("config.image.path and config.image.url", "one of the two", "remove one of them")
	case c.URL != "":
		return newRemote(j).plan(ctx, v.Files, plan)
	case c.Path != "":
		return j.plan(ctx, v.Files, plan)
	case c.Version != "":
		return j.planVersion(ctx, v, plan)
	}
	return refuse("no config.image.path", "a balenaOS image (S13)",
		"set config.image.path to a raw image, or to one in gzip, zip, xz, zstd or bzip2, config.image.url to where there is one, or config.image.version")
}

// job is what is to become of which image.
type job struct {
	source       string
	given        string // what names the source, for remedies
	dir          string
	image, index string
	stamp        string
	want         schema.ImageConfig
	// origin is where the image is downloaded from, empty for a file of the operator's.
	origin string
	claims devicetype.Claims
	// disk is the disk to be flashed, nil while it is not known: on a controller it never is.
	disk *schema.Disk
	// keepFree is in bytes.
	keepFree int64
}

func newJob(v steps.View) job {
	j := job{
		source: v.Config.Image.Path, given: "config.image.path", dir: v.WorkDir, image: path.Join(v.WorkDir, imageName),
		index: path.Join(v.WorkDir, indexName), stamp: path.Join(v.WorkDir, stampName),
		want: v.Config.Image, claims: claims(v), origin: origin(v), keepFree: v.Config.Disk.MinFreeMB << 20,
	}
	if v.Facts.Host != nil {
		j.disk = v.Facts.Host.Disk
	}
	return j
}

// origin is the address of an image, or what is wished of balena.
func origin(v steps.View) string {
	c := v.Config.Image
	if c.Path != "" || c.URL != "" || c.Version == "" {
		return c.URL
	}
	return fmt.Sprintf("balenaOS %s for %s from %s", c.Version, downloadType(v), v.Config.Balena.APIURL)
}

// plan compares the work dir with what is wanted. A *refusal becomes a blocker.
func (j job) plan(ctx context.Context, r host.Reader, plan *steps.Plan) error {
	if s := steps.LoadStamp(r, j.stamp); j.fresh(r, s) {
		return j.settled(s.Facts.Image, plan)
	}
	return j.work(ctx, r, plan)
}

// settled is for an image that was prepared before.
func (j job) settled(facts *schema.ImageFacts, plan *steps.Plan) error {
	if err := j.accept(facts); err != nil {
		return err
	}
	j.warn(plan, findings{deviceType: facts.DeviceType})
	plan.Facts.Image = facts
	return nil
}

// work plans to prepare the file.
func (j job) work(ctx context.Context, r host.Reader, plan *steps.Plan) error {
	f, size, err := j.open(r)
	if err != nil {
		return err
	}
	defer f.Close()
	src, err := j.detect(r, f, size)
	if err != nil {
		return err
	}
	found, err := j.glance(ctx, src)
	if err != nil {
		return err
	}
	inPlace := j.inPlace(r)
	if !inPlace { // what is packed already hardly becomes smaller
		if err := j.room(r, src.packedSize()/4*3, src.packedSize()); err != nil {
			return err
		}
	}
	j.warn(plan, found)
	j.clear(r, plan, inPlace)
	plan.Add(prepare{job: j, inPlace: inPlace, flasher: found.flasher})
	return nil
}

// fresh says whether what the stamp tells is still true.
func (j job) fresh(r host.Reader, s *schema.Stamp) bool {
	if s == nil || s.Facts.Image == nil {
		return false
	}
	names := j.stamped()
	for _, e := range s.Facts.Image.Extras {
		names = append(names, e.Path)
	}
	if len(s.Files) != len(names) {
		return false
	}
	for i, name := range names {
		if s.Files[i].Path != name {
			return false
		}
	}
	if j.origin != "" && j.want.SHA256 != "" && j.want.SHA256 != s.Facts.Image.SourceSHA256 {
		return false // another file under the same address
	}
	return steps.Fresh(r, s, j.recipe())
}

// stamped are the files that the stamp is about. What was downloaded is gone by then.
func (j job) stamped() []string {
	if j.origin != "" {
		return []string{j.image, j.index}
	}
	return []string{j.source, j.image, j.index}
}

func (j job) recipe() string {
	if j.origin != "" {
		return recipe + " from " + urlSum(j.origin)
	}
	return recipe
}

// warn about an image that does not look as if it could take the configuration of a device.
func (j job) warn(plan *steps.Plan, found findings) {
	if found.deviceType == "" && !found.partial {
		plan.Warn(j.source + ": found no device-type.json on its boot partition (E38); is it a balenaOS image?")
	}
}

// inPlace says whether the operator's file lies where the result goes.
func (j job) inPlace(r host.Reader) bool {
	a, errA := r.RealPath(j.source)
	b, errB := r.RealPath(j.image)
	return errA == nil && errB == nil && a == b
}

// clear removes what is left of another image, which on a small disk may be in the way. A link is the operator's way of
// having the image elsewhere, and stays.
func (j job) clear(r host.Reader, plan *steps.Plan, inPlace bool) {
	old := []string{j.stamp, j.index, j.image}
	if inPlace {
		old = old[:1]
	}
	for _, name := range append(old, j.oldExtras(r)...) {
		if info, err := r.Lstat(name); err == nil && info.Mode().IsRegular() {
			plan.Add(remove(name))
		}
	}
}
