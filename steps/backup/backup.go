// Package backup makes the archive through which a device's data comes back as the volumes of its new application.
//
// The balena supervisor unpacks /mnt/data/backup.tgz once, on the first target state of the new system, and renames
// every top-level directory to the volume of that name (E16). Whatever else it finds at the top level, even a volume
// that the release does not have, stops it, and it tries again forever (E17). So what goes into the archive is checked
// here, while the old system still runs.
//
// The archive comes from a program of the operator's (backup.script, S87) or from a list of sources
// (backup.definition, S88, see definition.go). With neither there is none, and one of an earlier run is removed (S89).
//
// The step owns backup.tgz, backup.stamp.json and backup.log in the work dir and nothing else; remove them to undo it, or
// either of the first two to have the backup made anew.
package backup

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
)

// The files of this step in the work dir. scriptOutput is where a script writes, in a
// directory that nobody else may enter, for the script decides on its mode; both are gone when the step ends. logName is
// what the script printed.
const (
	archiveName  = "backup.tgz"
	stampName    = flashplan.BackupStamp
	logName      = "backup.log"
	scriptDir    = "backup.script"
	scriptOutput = scriptDir + "/backup.tgz"
)

// archiveMode keeps the data of a device from its users.
const archiveMode fs.FileMode = 0o600

// check is the name blockers of this step carry.
const check = "backup"

// Step makes backup.tgz.
type Step struct{}

// Name implements steps.Step.
func (Step) Name() string { return "backup" }

// Plan implements steps.Step. It reads the definition or the script and asks for the state of every source, but opens
// none.
func (Step) Plan(ctx context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	plan.Facts.Backup = nil
	var err error
	switch c := v.Config.Backup; {
	case c.Script != "" && c.Definition != "":
		plan.Block(check, "both a script and a definition", "one of them", "remove backup.script or backup.definition from the configuration")
	case c.Script != "":
		err = planScript(ctx, v, &plan)
	case c.Definition != "":
		err = planDefinition(ctx, v, &plan)
	default:
		err = planNone(v, &plan)
	}
	if err != nil || len(plan.Blocked) > 0 {
		return plan, err
	}
	return plan, placed(v, &plan)
}

// planNone removes what an earlier run left, or it would be taken along (S89).
func planNone(v steps.View, plan *steps.Plan) error {
	for _, name := range []string{archiveName, scriptOutput, scriptDir, stampName, logName} {
		file := path.Join(v.WorkDir, name)
		_, err := v.Files.Lstat(file)
		switch {
		case err == nil:
			plan.Add(steps.Remove{Place: steps.InFiles, Path: file, Secret: true})
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if len(plan.Changes) == 0 {
		plan.Facts.Backup = &schema.BackupFacts{Volumes: []string{}}
	}
	return nil
}

// settle makes the facts of an archive that needs no work part of the plan.
func settle(plan *steps.Plan, s *schema.Stamp) {
	plan.Facts.Backup = s.Facts.Backup
	moved := nameList{}
	for _, f := range s.Files[:len(s.Files)-1] {
		moved.add(f.Path)
	}
	if moved.count > 0 {
		plan.Warn("changed or vanished while they were read, their copies may be torn: " + moved.String() +
			" (stop what writes them and run the step again)")
	}
}

// known says whether a volume may be restored; an empty list of volumes allows all (E19).
func known(volume string, allowed []string) bool {
	return len(allowed) == 0 || slices.Contains(allowed, volume)
}

// volumeWant is what a volume's name should be.
func volumeWant(allowed []string) string {
	if len(allowed) > 0 {
		return "one of backup.volumes: " + strings.Join(allowed, ", ")
	}
	return "a letter or digit, then at most 199 letters, digits, _, . and -"
}
