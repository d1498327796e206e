package registration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
)

// Wish is what is to be registered, and what its config.json is to say.
type Wish struct {
	Name string
	// Fleet is a number, a slug, or a bare name that only one fleet has.
	Fleet string
	// DeviceType is the fleet's own if it is empty.
	DeviceType string
	// OSVersion is the version of balenaOS that is expected; empty takes config.json for the latest, and any arrival for good.
	OSVersion string
	// Hostname is empty for none.
	Hostname string
	// Poll is how often the device is to look for updates, in minutes.
	Poll int
	// RootCA are more certificates that vouch for the API, in PEM.
	RootCA string
}

// fleetDir is the folder of a fleet's config.json: what it depends on is in its name.
func (s *Store) fleetDir(c *balena.Client, w Wish) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{strings.TrimRight(c.URL, "/"), w.Fleet, w.DeviceType, w.OSVersion, fmt.Sprint(w.Poll)}, "\x00")))
	const digits = 8
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, w.Fleet)
	return filepath.Join(s.Dir, "fleets", fmt.Sprintf("%.100s-%x", name, sum[:digits]))
}

// knownFleet is the fleet's config.json that was fetched before, nil if none was.
func (s *Store) knownFleet(c *balena.Client, w Wish) (*configjson.File, error) {
	path := filepath.Join(s.fleetDir(c, w), configName)
	data, err := s.Files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := configjson.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: delete it, the next run fetches another", path, err)
	}
	return f, nil
}

// fleet is the fleet's config.json. The first of all processes that work in this directory fetches it, the others wait: it
// is fetched once, however many devices are registered at the same time.
func (s *Store) fleet(ctx context.Context, c *balena.Client, w Wish) (*configjson.File, error) {
	if f, err := s.knownFleet(c, w); f != nil || err != nil {
		return f, err
	}
	dir := s.fleetDir(c, w)
	unlock, err := s.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if f, err := s.knownFleet(c, w); f != nil || err != nil {
		return f, err
	}
	data, err := fetchFleet(ctx, c, w)
	if err != nil {
		return nil, err
	}
	f, err := configjson.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("the API's answer: %w", err)
	}
	if all := f.Check(); len(all) > 0 {
		return nil, fmt.Errorf("the API's config.json: found %s, expected %s", all[0].Got, all[0].Want)
	}
	return f, s.Files.WriteFile(filepath.Join(dir, configName), data, private)
}

func fetchFleet(ctx context.Context, c *balena.Client, w Wish) ([]byte, error) {
	f, err := c.Fleet(ctx, w.Fleet)
	if err != nil {
		return nil, err
	}
	ask := balena.ConfigWish{Fleet: f.ID, Version: w.OSVersion, DeviceType: w.DeviceType, Poll: w.Poll}
	if ask.DeviceType == "" {
		ask.DeviceType = f.DeviceType
	}
	if ask.Version == "" {
		latest, err := balena.ParseWish("latest")
		if err != nil {
			return nil, err
		}
		v, err := c.Choose(ctx, ask.DeviceType, latest)
		if err != nil {
			return nil, err
		}
		ask.Version = v.String()
	}
	return c.Config(ctx, ask)
}
