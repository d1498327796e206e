// Package armboot makes the next boot, and only that one, be stage 2 (arm-boot), and takes it back (disarm).
//
// It owns the files that the boot back end names, and a record of how they were, written before the first of them
// changes. Delete nothing by hand: `balena-migrate disarm` puts every byte back, and so does stage 2 as its first act.
package armboot

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/target"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Step is arm-boot.
type Step struct{}

// Name implements steps.Step.
func (Step) Name() string { return "arm-boot" }

// Plan implements steps.Step.
func (Step) Plan(ctx context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	plan.Facts.Boot = nil
	if !v.Config.Boot.Arm {
		plan.Facts.Boot = &schema.BootFacts{Method: "none", Files: []string{}}
		plan.Warn("the boot configuration is left alone, as boot.arm says")
		return plan, nil
	}
	if v.Facts.Initramfs == nil {
		plan.Need("build-initramfs")
		return plan, nil
	}
	site, err := boot.At(v.Device)
	if err != nil {
		return plan, err
	}
	backend, blocked := boot.Find(site, v.Config.Boot.Method)
	plan.Blocked = append(blocked, stillSecure(v)...)
	if backend == nil || len(plan.Blocked) > 0 {
		return plan, nil
	}
	if loader, ok := backend.(boot.Loader); ok {
		return planLoad(ctx, plan, v, site, loader)
	}
	return planArm(plan, v, site, backend)
}

// stillSecure asks again what precheck asked: between the two somebody may have been in the firmware's setup, and arm-boot
// can be run without precheck. A kernel that is not signed as the firmware wants would not start, and nobody is there.
func stillSecure(v steps.View) []schema.Blocked {
	if slices.Contains(v.Config.Checks.Skip, boot.SecureBootCheck) {
		return nil
	}
	_, blocked := boot.SecureBoot(v.Device)
	return blocked
}

// planArm compares the boot configuration with its armed form.
func planArm(plan steps.Plan, v steps.View, site boot.Site, backend boot.Backend) (steps.Plan, error) {
	entry, err := backend.Running(site)
	if err != nil {
		return plan, err
	}
	entry.Debug = v.Config.Boot.Debug
	if v.Facts.Initramfs.Alone { // memory is too short for both
		entry.Initrd = ""
	}
	archive, err := v.Files.ReadFile(v.Facts.Initramfs.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && disarm.Sum(archive) != v.Facts.Initramfs.SHA256 {
		plan.Need("build-initramfs")
		return plan, nil
	}
	if err != nil {
		return plan, err
	}
	old, err := disarm.Load(v.Files, path.Join(v.WorkDir, disarm.RecordName))
	if err != nil {
		return plan, err
	}
	entry.Stage2 = archive
	files, err := backend.Files(site, entry, originals(v.Device, old))
	if err != nil {
		return plan, err
	}
	undo, err := stale(v.Device, old, files)
	if err != nil {
		return plan, err
	}
	plan.Add(undo...)
	if err := addChanges(&plan, v, site, backend.Name(), old, files); err != nil {
		return plan, err
	}
	if len(plan.Changes) == 0 {
		plan.Facts.Boot = facts(backend, entry, files)
		return plan, nil
	}
	forget, err := staleTraces(v)
	plan.Changes = append(forget, plan.Changes...)
	return plan, err
}

// staleTraces removes what an earlier stage 2 left, so that status never mistakes it for the coming one's.
func staleTraces(v steps.View) ([]steps.Change, error) {
	site, err := boot.At(v.Device)
	if err != nil {
		return nil, err
	}
	places := []target.Word{{Dir: v.WorkDir}}
	if w, found := target.FindWord(site, v.Files, v.WorkDir); found && w.OnDevice {
		places = append(places, w)
	}
	var out []steps.Change
	for _, w := range places {
		place := steps.InFiles
		if w.OnDevice {
			place = steps.OnDevice
		}
		for _, name := range []string{flashplan.OutcomeName, flashplan.LogName} {
			name = path.Join(w.Dir, name)
			state, err := disarm.Read(w.Reader(v.Device, v.Files), name)
			if err != nil {
				return nil, err
			}
			if state.Exists {
				out = append(out, steps.Remove{Place: place, Path: name, Before: state.Data})
			}
		}
	}
	return out, nil
}

// originals returns a file as it was before an earlier run armed it, if one did.
func originals(r host.Reader, rec *schema.Armed) func(string) (disarm.State, error) {
	return func(name string) (disarm.State, error) {
		now, err := disarm.Read(r, name)
		if err != nil || rec == nil {
			return now, err
		}
		for _, f := range rec.Files {
			if f.Path == name {
				return disarm.Restored(f, now), nil
			}
		}
		return now, nil
	}
}

// addChanges adds the record and then the files, the last of which arms.
func addChanges(plan *steps.Plan, v steps.View, site boot.Site, method string, old *schema.Armed, files []boot.File) error {
	record := path.Join(v.WorkDir, disarm.RecordName)
	rec := &schema.Armed{Schema: schema.ArmedName, Method: method, Files: []schema.ArmedFile{}}
	var err error
	if rec.BootID, err = boot.BootID(v.Device); err != nil {
		return err
	}
	var writes []steps.Change
	for _, f := range files {
		armed, change, err := file(v.Device, site, originals(v.Device, old), f)
		if err != nil {
			return err
		}
		rec.Files = append(rec.Files, armed)
		if change != nil {
			writes = append(writes, change)
		}
	}
	data, err := schema.Encode(rec)
	if err != nil {
		return err
	}
	before, err := disarm.Read(v.Files, record)
	if err != nil {
		return err
	}
	if string(before.Data) != string(data) {
		plan.Add(steps.WriteFile{Place: steps.InFiles, Path: record, Data: data, Mode: 0o600, Secret: true})
	}
	plan.Add(writes...)
	return nil
}

// file compares one file with its armed form.
func file(r host.Reader, site boot.Site, original func(string) (disarm.State, error), f boot.File) (schema.ArmedFile, steps.Change, error) {
	was, err := original(f.Path)
	if err != nil {
		return schema.ArmedFile{}, nil, err
	}
	fsys, inside, err := site.FileSystem(f.Path)
	if err != nil {
		return schema.ArmedFile{}, nil, err
	}
	now, err := disarm.Read(r, f.Path)
	if err != nil {
		return schema.ArmedFile{}, nil, err
	}
	armed := schema.ArmedFile{
		Restore: f.Restore, Path: f.Path, FSUUID: fsys.UUID, FSType: fsys.Type, FSPath: inside, Existed: was.Exists,
		Mode: uint32(f.Mode), ArmedSHA256: disarm.Sum(f.Data),
	}
	if f.Restore != schema.RestoreRemove {
		armed.Original = was.Data
	} else {
		armed.Existed = false
	}
	if info, err := r.Stat(f.Path); err == nil && was.Exists {
		armed.Mode = uint32(info.Mode().Perm())
		f.Mode = info.Mode().Perm()
	}
	if now.Equal(disarm.State{Data: f.Data, Exists: true}) {
		return armed, nil, nil
	}
	return armed, steps.WriteFile{
		Place: steps.OnDevice, Path: f.Path, Data: f.Data, Mode: f.Mode, Before: now.Data, Secret: f.Restore == schema.RestoreRemove,
	}, nil
}

func facts(backend boot.Backend, entry boot.Entry, files []boot.File) *schema.BootFacts {
	out := &schema.BootFacts{
		Method: backend.Name(), Armed: true, Kernel: entry.Kernel, Files: []string{}, RestartArgument: boot.RestartArgument(backend),
	}
	for _, f := range files {
		out.Files = append(out.Files, f.Path)
	}
	return out
}

// Disarm is the step that takes arm-boot back.
type Disarm struct{}

// Name implements steps.Step.
func (Disarm) Name() string { return "disarm" }

// Plan implements steps.Step.
func (Disarm) Plan(_ context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	record := path.Join(v.WorkDir, disarm.RecordName)
	rec, err := disarm.Load(v.Files, record)
	if err != nil {
		return plan, err
	}
	if plan.Facts.Boot != nil {
		now := *plan.Facts.Boot
		now.Armed = rec != nil
		plan.Facts.Boot = &now
	}
	if rec == nil {
		return plan, nil
	}
	for i := len(rec.Files) - 1; i >= 0; i-- { // what arms goes first
		change, err := restored(v.Device, rec.Files[i])
		if err != nil {
			return plan, err
		}
		if change != nil {
			plan.Add(change)
		}
	}
	if id, err := boot.BootID(v.Device); err == nil && id == rec.BootID && loaded(v.Device, rec, boot.Kexec{}) {
		plan.Add(unload{})
	}
	plan.Add(steps.Remove{Place: steps.InFiles, Path: record, Secret: true})
	return plan, nil
}

func restored(r host.Reader, f schema.ArmedFile) (steps.Change, error) {
	now, err := disarm.Read(r, f.Path)
	if err != nil {
		return nil, err
	}
	want := disarm.Restored(f, now)
	secret := f.Restore == schema.RestoreRemove
	switch {
	case want.Equal(now):
		return nil, nil //nolint:nilnil // nothing to change
	case !want.Exists:
		return steps.Remove{Place: steps.OnDevice, Path: f.Path, Before: now.Data, Secret: secret}, nil
	}
	return steps.WriteFile{
		Place: steps.OnDevice, Path: f.Path, Data: want.Data, Mode: fs.FileMode(f.Mode), Before: now.Data, Secret: secret,
	}, nil
}
