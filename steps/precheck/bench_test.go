package precheck

import (
	"testing"

	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// BenchmarkPrecheck is the step without its network checks on the fake host; below 30 ms and 30 MB are promised for the
// whole program.
func BenchmarkPrecheck(b *testing.B) {
	m := machines()[0]
	root := b.TempDir()
	m.fill(b, root)
	in := input()
	in.Config.Checks.Skip = []string{"api", "vpn"}
	view := steptest.RunOn(host.At(root)).View(in)
	b.ReportAllocs()
	for b.Loop() {
		plan, err := Step{}.Plan(b.Context(), view)
		if err != nil || len(plan.Blocked) > 0 {
			b.Fatal(err, plan.Blocked)
		}
	}
}
