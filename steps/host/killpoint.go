//go:build !faults

package host

// killPoint is where a build with the tag "faults" can be made to kill itself; see killpoint_faults.go.
func killPoint() {}
