//go:build !faults

package stage2

// fault is where a build with the tag "faults" fails on demand; see fault_lab.go.
func fault(string) {}
