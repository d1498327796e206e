package host

import "strings"

// Line is the content of a file of one line, as those of /proc and /sys are, without the blanks around it. It is empty when
// there is none, and fit for a document whatever bytes a firmware put there.
func Line(r Reader, name string) string {
	data, err := r.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(data)), "?")
}
