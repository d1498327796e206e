package registration

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/balena"
)

// Removal is how a registration is to be removed.
type Removal struct {
	Name string
	// Force also removes a device that was heard of.
	Force bool
	// Check only looks.
	Check bool
}

// Remove deletes the registration of a device whose migration failed before the flash (E15, S152), and its config.json. A
// device that was ever heard of is more than that: it is blocked, and nothing is done. What is gone already is no error.
func (s *Store) Remove(ctx context.Context, c *balena.Client, r Removal) (*schema.DeviceRegistration, []schema.Blocked, error) {
	rec, err := s.Load(r.Name)
	if err != nil {
		return nil, nil, err
	}
	if rec == nil || rec.State == schema.Removed {
		if rec == nil {
			rec = &schema.Registration{Name: r.Name}
		}
		doc := document(rec, schema.None, false)
		doc.Check, doc.Msg = r.Check, r.Name+" is not registered"
		return doc, nil, nil
	}
	dir, err := s.deviceDir(r.Name)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := s.open(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if rec, err = s.Load(r.Name); err != nil { // again: whoever had the lock may have changed it
		return nil, nil, err
	}
	d, err := c.Device(ctx, rec.UUID)
	if err != nil {
		return nil, nil, err
	}
	if d != nil && d.Seen() != "" && !r.Force {
		return nil, []schema.Blocked{alive(rec, d)}, nil
	}
	doc := document(rec, schema.Removed, true)
	doc.Check, doc.Msg = r.Check, fmt.Sprintf("%s is removed: device %d (%s) of fleet %d", r.Name, rec.DeviceID, rec.UUID, rec.Fleet)
	if d == nil {
		doc.Msg = r.Name + " was deleted in balena already"
	}
	if r.Check {
		return doc, nil, nil
	}
	return doc, nil, s.remove(ctx, c, rec, d, dir)
}

func alive(rec *schema.Registration, d *balena.Device) schema.Blocked {
	return schema.Blocked{
		Check: "registration", Got: fmt.Sprintf("device %d (%s): %s", d.ID, rec.UUID, d.Seen()), Want: "a registration that no device has ever used",
		Remedy: "see in balena what the device is; if it is to be deleted all the same, use --force",
	}
}

// remove deletes the device, then makes sure that it is gone, then forgets its keys.
func (s *Store) remove(ctx context.Context, c *balena.Client, rec *schema.Registration, d *balena.Device, dir string) error {
	if d != nil {
		if err := c.Remove(ctx, rec.UUID); err != nil {
			return err
		}
		still, err := c.Device(ctx, rec.UUID)
		if err != nil {
			return err
		}
		if still != nil {
			return fmt.Errorf("%s: device %d is still there after it was deleted: the key may see it, but not delete it", rec.Name, still.ID)
		}
	}
	rec.State, rec.DeviceID, rec.RegisteredAt = schema.Removed, 0, 0
	if err := s.save(rec); err != nil {
		return err
	}
	return s.Files.Remove(filepath.Join(dir, configName))
}
