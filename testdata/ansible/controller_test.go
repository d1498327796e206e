package ansible

import (
	"path/filepath"
	"strings"
	"testing"
)

// inTree runs a program in the root tree of a controller, with the files of this one where they are.
const inTree = `tree=$0 project=$1; shift
for dir in /proc /dev /tmp "$TMPDIR" "$project"; do
  [ -z "$dir" ] || { mkdir -p "$tree$dir" && mount --rbind "$dir" "$tree$dir"; } || exit
done
here=$PWD; exec chroot "$tree" sh -c 'cd "$0" && exec "$@"' "$here" "$@"`

// elsewhere is what goes before a command to have it run in a controller's tree.
func elsewhere(t *testing.T, tree string) []string {
	t.Helper()
	project, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"unshare", "--mount", "sh", "-c", inTree, tree, project}
}

// TestNewestAnsible runs the whole migration, and reruns, with the newest ansible-core that Debian offers.
func TestNewestAnsible(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tree := filepath.Join(cacheDir(t), "ansible-controller")
	command(t, "", "./controller.sh", tree)
	m := b.newMachine(t, "")
	m.builds.controller = tree
	version := command(t, "", append(elsewhere(t, tree), "ansible-playbook", "--version")...)
	if strings.Contains(version, "core 2.14") {
		t.Fatalf("this is not another one: %s", version)
	}
	t.Log(strings.SplitN(version, "\n", 2)[0])
	t.Run("prepares and stops", func(t *testing.T) { testPrepares(t, m) })
	t.Run("the second run changes nothing", func(t *testing.T) { testNothingNew(t, m) })
	t.Run("goes to the end", func(t *testing.T) { testToTheEnd(t, m) })
	t.Run("what is finished is left alone", func(t *testing.T) { testFinished(t, m) })
}
