package image

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/host"
)

// planVersion is the plan for an image that balena is to be asked for (P3). What was downloaded once stays, also when
// the latest version has become another: delete the stamp to have it anew.
func (j job) planVersion(ctx context.Context, v steps.View, plan *steps.Plan) error {
	deviceType := downloadType(v)
	if deviceType == "" {
		return refuse("config.image.version, and no device type", "the device type to download for", "set config.balena.config_json, or config.image.device_type")
	}
	wish, err := balena.ParseWish(j.want.Version)
	if err != nil {
		return refuse("config.image.version: "+err.Error(), "a version or a range", "mend config.image.version")
	}
	client, err := balena.NewClient(v.Files, v.Config.Balena, readConfig(v.Files, v.Config.Balena.ConfigJSON))
	if err != nil {
		return refuse(err.Error(), "a way to ask balena", "mend the balena section of the configuration")
	}
	r := newRemote(j)
	r.resolve = func(ctx context.Context) (*balena.Download, error) { return resolve(ctx, client, deviceType, wish) }
	return r.plan(ctx, v.Files, plan)
}

// downloadType is the device type to download for: the one asked for, else that of config.json.
func downloadType(v steps.View) string {
	if slug := v.Config.Image.DeviceType; slug != "" {
		return slug
	}
	return configType(v.Files, v.Config.Balena.ConfigJSON)
}

// resolve asks balena for the version and the image. What it refuses is a *refusal.
func resolve(ctx context.Context, client *balena.Client, deviceType string, wish balena.Wish) (*balena.Download, error) {
	found, err := client.Resolve(ctx, deviceType, wish)
	var refused *balena.Refused
	switch {
	case err == nil:
		return &found, nil
	case errors.As(err, &refused):
		return nil, refuse(strings.ReplaceAll(err.Error(), "\n", "; "), fmt.Sprintf("balenaOS %s for %s", wish, deviceType), refused.Hint())
	case errors.Is(err, balena.ErrNone):
		return nil, refuse(err.Error(), "a version that there is", "mend config.image.version, or config.image.device_type")
	}
	return nil, steps.WithHint(err, "see that the API can be reached (balena.api_url), or download the image elsewhere and set config.image.path")
}

// readConfig is config.json, nil if it can't be read; precheck says why.
func readConfig(r host.Reader, name string) *configjson.File {
	if name == "" {
		return nil
	}
	info, err := r.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > configjson.MaxSize {
		return nil
	}
	data, err := r.ReadFile(name)
	if err != nil {
		return nil
	}
	file, err := configjson.Parse(data)
	if err != nil {
		return nil
	}
	return file
}
