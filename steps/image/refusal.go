package image

import (
	"fmt"
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
	"github.com/balena-community/balena-migrate/steps/host"
)

// maxRaw is the largest raw image while the disk is not known, in bytes. It bounds the work that a small file can ask
// for, not what can be flashed: images of balenaOS have a few GiB.
const maxRaw = 64 << 30

// refusal is an image that must not be flashed. Plan makes it a blocker; what shows only when the whole image was
// read is an error of the change.
type refusal schema.Blocked

// Error implements error.
func (r *refusal) Error() string {
	return fmt.Sprintf("%s: found %s, expected %s", r.Check, r.Got, r.Want)
}

func refuse(got, want, remedy string) *refusal {
	return &refusal{Check: check, Got: got, Want: want, Remedy: remedy}
}

// limit is the largest raw image that is of use, in bytes.
func (j job) limit() int64 {
	if j.disk != nil && j.disk.Size > 0 {
		return j.disk.Size
	}
	return maxRaw
}

// tooLarge refuses an image of raw or more bytes that the disk does not hold (S52).
func (j job) tooLarge(raw int64) error {
	switch {
	case raw <= j.limit():
		return nil
	case j.disk != nil && j.disk.Size > 0:
		return refuse(fmt.Sprintf("%s: an image of %d bytes or more", j.source, raw), fmt.Sprintf("at most the %d bytes of disk %s", j.disk.Size, j.disk.Name),
			"take a smaller image or a larger disk")
	default:
		return refuse(fmt.Sprintf("%s: an image of more than %d bytes", j.source, int64(maxRaw)), "at most that", "is it damaged? download it again")
	}
}

// rawSize refuses raw sizes that no disk image has.
func (j job) rawSize(raw int64) error {
	if raw%512 != 0 || raw == 0 {
		return refuse(fmt.Sprintf("%s: %d bytes unpacked", j.source, raw), "a disk image: a multiple of 512 bytes", "it is truncated or no disk image: download it again")
	}
	return j.tooLarge(raw)
}

// accept compares what a prepared image is with what is asked for now.
func (j job) accept(f *schema.ImageFacts) error {
	if err := j.digest(f.SourceSHA256); err != nil {
		return err
	}
	if err := j.deviceType(f.DeviceType, f.Arch); err != nil {
		return err
	}
	return j.rawSize(f.RawSize)
}

// digest refuses a file other than the one that was asked for.
func (j job) digest(got string) error {
	if j.want.SHA256 == "" || j.want.SHA256 == got {
		return nil
	}
	return refuse(fmt.Sprintf("%s with SHA-256 %s", j.source, got), j.want.SHA256, "download the image again, or mend config.image.sha256")
}

// deviceType refuses an image for other devices (S65, E37, E38).
func (j job) deviceType(slug, arch string) error {
	if j.want.DeviceType != "" && slug == "" {
		return &refusal{
			Check: devicetype.Check, Got: j.source + ": an image that does not say for which device type it is", Want: j.want.DeviceType,
			Remedy: "take the image of device type " + j.want.DeviceType + ", or mend config.image.device_type",
		}
	}
	claims := j.claims
	claims.Image, claims.ImageArch = slug, arch
	for _, b := range claims.ImageDisagrees() {
		b.Got = j.source + ": " + b.Got
		return (*refusal)(&b)
	}
	return nil
}

// claims is what the document says of the device and its fleet; about config.json itself others complain.
func claims(v steps.View) devicetype.Claims {
	c := devicetype.Claims{Asked: v.Config.Image.DeviceType}
	if slices.Contains(v.Config.Checks.Skip, devicetype.Check) {
		return c
	}
	if f := v.Facts.Host; f != nil {
		c.Machine, c.Device = f.Arch, f.DeviceTypes
	}
	c.Config = configType(v.Files, v.Config.Balena.ConfigJSON)
	return c
}

// configType is the device type in config.json, empty if it can't be told.
func configType(r host.Reader, name string) string {
	if file := readConfig(r, name); file != nil {
		return file.DeviceType()
	}
	return ""
}

// whole refuses a partition table that does not suit the image, of raw bytes or -1.
func (j job) whole(t *parttable.Table, raw int64) error {
	if t.FromBackup {
		return refuse(j.source+": a damaged GPT, its backup being good", "an undamaged partition table", "download the image again")
	}
	if raw < 0 {
		return nil
	}
	if err := t.Fits(raw); err != nil {
		return refuse(fmt.Sprintf("%s: %v", j.source, err), "a whole image", "it is truncated: download it again")
	}
	return nil
}

// suits refuses a partition table that does not suit the disk.
func (j job) suits(t *parttable.Table) error {
	if j.disk != nil && j.disk.SectorSize > 0 && j.disk.SectorSize != t.SectorSize {
		return refuse(fmt.Sprintf("%s: a partition table in sectors of %d bytes", j.source, t.SectorSize),
			fmt.Sprintf("sectors of %d bytes as disk %s has", j.disk.SectorSize, j.disk.Name), "take an image for this kind of disk")
	}
	return j.tooLarge(t.End)
}
