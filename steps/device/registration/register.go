package registration

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
)

// ErrProvisioning is wrapped by the error for a fleet's provisioning key that was revoked or has expired, or whose fleet was
// deleted. The fleet's config.json is then of no use any more.
var ErrProvisioning = errors.New("the fleet's provisioning key is not valid any more")

// Elsewhere is the error for a device that is registered in another fleet, with another API or as another type already.
// What is there may be in use: nothing was done.
type Elsewhere struct {
	Name, Have, Want string
}

// Error implements error.
func (e *Elsewhere) Error() string {
	return fmt.Sprintf("%s is registered already: found %s, expected %s", e.Name, e.Have, e.Want)
}

// Register registers a device unless it is, and writes its own config.json. It may be run again at any time.
func (s *Store) Register(ctx context.Context, c *balena.Client, w Wish) (*schema.DeviceRegistration, error) {
	dir, err := s.deviceDir(w.Name)
	if err != nil {
		return nil, err
	}
	unlock, err := s.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	fleet, err := s.fleet(ctx, c, w)
	if err != nil {
		return nil, err
	}
	j := &job{store: s, user: c, fleet: fleet}
	if err := j.begin(w); err != nil {
		return nil, err
	}
	made, err := j.ensure(ctx)
	if err != nil {
		return nil, err
	}
	wrote, err := j.writeConfig(w.Hostname)
	if err != nil {
		return nil, err
	}
	doc := document(j.rec, schema.Registered, made || wrote)
	doc.ConfigJSON = filepath.Join(dir, configName)
	doc.Msg = fmt.Sprintf("%s is device %d (%s) of fleet %d", w.Name, j.rec.DeviceID, j.rec.UUID, j.rec.Fleet)
	return doc, nil
}

// CheckRegister says what Register would do, and does nothing.
func (s *Store) CheckRegister(ctx context.Context, c *balena.Client, w Wish) (*schema.DeviceRegistration, error) {
	rec, err := s.Load(w.Name)
	if err != nil {
		return nil, err
	}
	if rec == nil || rec.State != schema.Registered {
		doc := document(&schema.Registration{Name: w.Name, APIURL: c.URL, DeviceType: w.DeviceType}, schema.None, true)
		doc.Check, doc.Msg = true, w.Name+" would be registered in fleet "+w.Fleet
		return doc, nil
	}
	d, err := c.Device(ctx, rec.UUID)
	if err != nil {
		return nil, err
	}
	doc := document(rec, schema.Registered, d == nil)
	if doc.ConfigJSON, err = s.ConfigJSON(w.Name); err != nil {
		return nil, err
	}
	doc.Check, doc.Msg = true, w.Name+" is registered"
	if d == nil {
		doc.State, doc.Msg = schema.None, w.Name+" was deleted in balena, and would be registered anew"
	}
	return doc, nil
}

func document(rec *schema.Registration, state schema.RegistrationState, changed bool) *schema.DeviceRegistration {
	return &schema.DeviceRegistration{
		Schema: schema.DeviceRegistrationName, Name: rec.Name, State: state, UUID: rec.UUID, DeviceID: rec.DeviceID, Fleet: rec.Fleet,
		DeviceType: rec.DeviceType, APIURL: rec.APIURL, Changed: changed,
	}
}

// job is one registration at work.
type job struct {
	store *Store
	user  *balena.Client
	fleet *configjson.File
	rec   *schema.Registration
}

// begin finds the device's record or begins one, durably.
func (j *job) begin(w Wish) error {
	rec, err := j.store.Load(w.Name)
	if err != nil {
		return err
	}
	want := schema.Registration{
		Schema: schema.RegistrationName, Name: w.Name, State: schema.Requested, APIURL: strings.TrimRight(j.user.URL, "/"),
		Fleet: j.fleet.Number("applicationId"), DeviceType: j.fleet.DeviceType(), OSVersion: w.OSVersion, RootCA: w.RootCA,
	}
	if rec != nil && rec.State != schema.Removed && where(rec) != where(&want) {
		return &Elsewhere{Name: w.Name, Have: where(rec), Want: where(&want)}
	}
	if rec == nil || where(rec) != where(&want) {
		want.UUID, want.APIKey = balena.NewKey(), balena.NewKey()
		j.rec = &want
		return j.store.save(j.rec)
	}
	j.rec = rec
	if rec.State == schema.Removed {
		return j.anew()
	}
	if rec.OSVersion != w.OSVersion || rec.RootCA != w.RootCA {
		rec.OSVersion, rec.RootCA = w.OSVersion, w.RootCA
		return j.store.save(rec)
	}
	return nil
}

func where(rec *schema.Registration) string {
	return fmt.Sprintf("a %s in fleet %d of %s", rec.DeviceType, rec.Fleet, rec.APIURL)
}

// anew begins a registration again under the same uuid. The key has to be another: that of a deleted device stays known to
// the API and would be refused for ever.
func (j *job) anew() error {
	j.rec.State, j.rec.APIKey, j.rec.DeviceID, j.rec.RegisteredAt = schema.Requested, balena.NewKey(), 0, 0
	return j.store.save(j.rec)
}

// ensure registers the device unless it is, and says whether it did.
func (j *job) ensure(ctx context.Context) (bool, error) {
	if j.rec.State == schema.Registered {
		d, err := j.user.Device(ctx, j.rec.UUID)
		if err != nil || d != nil {
			return false, err
		}
		if err := j.anew(); err != nil {
			return false, err
		}
	}
	// Once more for a key that turns out to be used; a second time it can't be chance.
	const most = 2
	for n := 1; ; n++ {
		err := j.request(ctx)
		if !errors.Is(err, balena.ErrKeyTaken) || n == most {
			return true, err
		}
		if err := j.anew(); err != nil {
			return true, err
		}
	}
}

// request asks for the registration, by the fleet's provisioning key.
func (j *job) request(ctx context.Context) error {
	provisioning := j.user.With(j.fleet.Text("apiKey"))
	id, key, err := provisioning.Register(ctx, balena.Registration{
		Fleet: j.rec.Fleet, DeviceType: j.rec.DeviceType, UUID: j.rec.UUID, DeviceAPIKey: j.rec.APIKey,
	})
	switch {
	case err == nil:
		j.rec.APIKey = key
		return j.registered(id)
	case errors.Is(err, balena.ErrUUIDTaken):
		return j.adopt(ctx)
	case balena.Unknown(err):
		return fmt.Errorf("%w: %w", ErrProvisioning, err)
	}
	return err
}

// registered notes that it is done.
func (j *job) registered(id int64) error {
	j.rec.State, j.rec.DeviceID, j.rec.RegisteredAt = schema.Registered, id, j.store.Files.Now().Unix()
	return j.store.save(j.rec)
}

// adopt takes what is registered under our uuid: nobody else knows that, so it is an earlier request of ours whose answer
// was lost. The key that went with it is tried, and another one set if it is not the device's.
func (j *job) adopt(ctx context.Context) error {
	d, err := j.user.Device(ctx, j.rec.UUID)
	if err != nil {
		return err
	}
	if d == nil {
		return fmt.Errorf("%s: its uuid %s is registered, but not for this key to see: give the key of a user who may see the fleet's devices", j.rec.Name, j.rec.UUID)
	}
	owner, err := j.user.With(j.rec.APIKey).Owner(ctx)
	if err != nil {
		return err
	}
	if owner == j.rec.UUID {
		return j.registered(d.ID)
	}
	j.rec.APIKey = balena.NewKey()
	if err := j.store.save(j.rec); err != nil {
		return err
	}
	refused := j.user.SetDeviceKey(ctx, d.ID, j.rec.APIKey)
	if owner, err = j.user.With(j.rec.APIKey).Owner(ctx); err == nil && owner == j.rec.UUID {
		return j.registered(d.ID)
	}
	return errors.Join(fmt.Errorf("%s: device %d takes no key of ours", j.rec.Name, d.ID), refused, err)
}

// writeConfig writes the device's config.json (E4): the fleet's, and who the device is. With registered_at and deviceId the
// supervisor goes to work at once. The fleet's key stays: with it the supervisor can get another device key should it have to.
func (j *job) writeConfig(hostname string) (bool, error) {
	set := map[string]any{
		"uuid": j.rec.UUID, "deviceApiKey": j.rec.APIKey, "deviceId": j.rec.DeviceID, "registered_at": j.rec.RegisteredAt,
		"deviceType": j.rec.DeviceType,
	}
	if hostname != "" {
		set["hostname"] = hostname
	}
	data, err := j.fleet.With(set)
	if err != nil {
		return false, err
	}
	path, err := j.store.ConfigJSON(j.rec.Name)
	if err != nil {
		return false, err
	}
	return j.store.keep(path, data)
}
