package armboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/capacity"
	"github.com/balena-community/balena-migrate/steps/host"
)

// planLoad compares what the kernel has loaded with what it should have. The kernel tells only that it has something, so
// the record says what; it is written between unloading and loading, so that whenever the run is stopped it is not taken
// for more than it is.
func planLoad(ctx context.Context, plan steps.Plan, v steps.View, site boot.Site, loader boot.Loader) (steps.Plan, error) {
	if v.Device.Root() != v.Files.Root() {
		plan.Block("root", "the root directory "+v.Device.Root(), "the running system, whose kernel is told", "run it without --root")
		return plan, nil
	}
	archive, err := steps.Digest(ctx, v.Files, v.Facts.Initramfs.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && archive.SHA256 != v.Facts.Initramfs.SHA256 {
		plan.Need("build-initramfs")
		return plan, nil
	}
	if err != nil {
		return plan, err
	}
	entry, err := loader.Running(site)
	if err != nil {
		return plan, err
	}
	entry.Debug = v.Config.Boot.Debug
	kernel, err := steps.Digest(ctx, v.Device, entry.Kernel)
	if err != nil {
		return plan, err
	}
	want := loader.Load(entry, archive.Path)
	rec := &schema.Armed{
		Schema: schema.ArmedName, Method: loader.Name(), Files: []schema.ArmedFile{},
		Loaded: disarm.Sum([]byte(kernel.SHA256 + " " + archive.SHA256 + " " + want.Args)),
	}
	if rec.BootID, err = boot.BootID(v.Device); err != nil {
		return plan, err
	}
	old, err := disarm.Load(v.Files, path.Join(v.WorkDir, disarm.RecordName))
	if err != nil {
		return plan, err
	}
	if loaded(v.Device, old, loader) && old.BootID == rec.BootID && old.Loaded == rec.Loaded {
		plan.Facts.Boot = facts(loader, entry, nil)
		return plan, nil
	}
	return addLoading(plan, v, rec, old, want)
}

// loaded says whether the kernel has what a record says.
func loaded(r host.Reader, rec *schema.Armed, loader boot.Loader) bool {
	return rec != nil && rec.Loaded != "" && loader.Armed(r)
}

func addLoading(plan steps.Plan, v steps.View, rec, old *schema.Armed, want host.Kexec) (steps.Plan, error) {
	if old != nil && len(old.Files) > 0 {
		plan.Block("boot-loader", "a boot loader that is armed by "+old.Method, "one that is as it was", "run balena-migrate disarm first")
		return plan, nil
	}
	if plan.Blocked = roomToLoad(v, v.Facts.Initramfs.Size); len(plan.Blocked) > 0 {
		return plan, nil
	}
	stale, err := staleTraces(v)
	if err != nil {
		return plan, err
	}
	data, err := schema.Encode(rec)
	if err != nil {
		return plan, err
	}
	plan.Add(stale...)
	if (boot.Kexec{}).Armed(v.Device) {
		plan.Add(unload{})
	}
	plan.Add(steps.WriteFile{Place: steps.InFiles, Path: path.Join(v.WorkDir, disarm.RecordName), Data: data, Mode: 0o600, Secret: true}, load{want})
	return plan, nil
}

// roomToLoad asks for the memory before the kernel does: it would refuse, or make room at the cost of what runs.
func roomToLoad(v steps.View, archive int64) []schema.Blocked {
	free, err := capacity.Available(v.Device)
	if need := flashplan.Loading(archive); err == nil && free < need {
		return []schema.Blocked{{
			Check: "memory", Got: fmt.Sprintf("%d MiB of memory available", free>>20),
			Want: fmt.Sprintf("%d MiB, to load an initramfs of %d MiB for kexec", need>>20, archive>>20), Remedy: "stop what takes memory, or use a smaller image or backup",
		}}
	}
	return nil
}

// load gives the kernel what it is to start.
type load struct{ host.Kexec }

// Note implements steps.Change.
func (l load) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "load for kexec", Target: l.Kernel}
}

// Apply implements steps.Change.
func (l load) Apply(_ context.Context, t steps.Target) error {
	err := t.Device.KexecLoad(l.Kexec)
	return steps.WithHint(err, "dmesg may say why; kexec needs room in one piece, which a reboot gives")
}

// unload takes it back.
type unload struct{}

// Note implements steps.Change.
func (unload) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "unload", Target: "the kernel for kexec"}
}

// Apply implements steps.Change.
func (unload) Apply(_ context.Context, t steps.Target) error { return t.Device.KexecUnload() }
