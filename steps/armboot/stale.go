package armboot

import (
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host"
)

// stale puts back what an earlier run armed and this one would leave as it is, since it arms in another way: the record
// forgets these files. It comes before the new record, so that one or the other names them whenever the run is cut.
func stale(r host.Reader, old *schema.Armed, files []boot.File) ([]steps.Change, error) {
	if old == nil {
		return nil, nil
	}
	var out []steps.Change
	for _, was := range slices.Backward(old.Files) { // what arms goes first
		if slices.ContainsFunc(files, func(f boot.File) bool { return f.Path == was.Path }) {
			continue
		}
		change, err := restored(r, was)
		if err != nil {
			return nil, err
		}
		if change != nil {
			out = append(out, change)
		}
	}
	return out, nil
}
