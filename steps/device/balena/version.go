package balena

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is a version of balenaOS: semver 2.0.0, with balena's own meaning of build metadata, in which revN counts.
type Version struct {
	Major, Minor, Patch uint64
	// Pre are the identifiers of a pre-release, Build those behind the plus sign.
	Pre, Build []string
	// raw is the text it was read from.
	raw string
}

// maxVersion bounds the texts that are read, in bytes.
const maxVersion = 256

// ParseVersion reads a version such as "6.1.2", "v2.50.1+rev1" or "6.0.0-rc.1". Errors name the text.
func ParseVersion(text string) (Version, error) {
	v := Version{raw: strings.TrimPrefix(text, "v")}
	rest, build, hasBuild := strings.Cut(v.raw, "+")
	core, pre, hasPre := strings.Cut(rest, "-")
	fail := func(why string) (Version, error) {
		return Version{}, fmt.Errorf("version %q: %s, expected one such as 6.1.2", text, why)
	}
	if len(text) > maxVersion {
		return Version{}, fmt.Errorf("version of %d bytes, expected one such as 6.1.2", len(text))
	}
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 {
		return fail(fmt.Sprintf("%d numbers", len(numbers)))
	}
	for i, to := range []*uint64{&v.Major, &v.Minor, &v.Patch} {
		n, ok := number(numbers[i])
		if !ok {
			return fail(fmt.Sprintf("%q is no number", numbers[i]))
		}
		*to = n
	}
	var ok bool
	if v.Pre, ok = identifiers(pre, hasPre); !ok {
		return fail("a bad pre-release")
	}
	if v.Build, ok = identifiers(build, hasBuild); !ok {
		return fail("bad build metadata")
	}
	return v, nil
}

// number reads a numeric identifier, which has no leading zeros.
func number(text string) (uint64, bool) {
	if text == "" || len(text) > 1 && text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// identifiers splits what follows "-" or "+".
func identifiers(text string, there bool) ([]string, bool) {
	if !there {
		return nil, true
	}
	out := strings.Split(text, ".")
	for _, id := range out {
		if id == "" || strings.IndexFunc(id, odd) >= 0 {
			return nil, false
		}
	}
	return out, true
}

// odd says whether a character can't be in an identifier.
func odd(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-'
}

// String is the text that was read, without a leading v.
func (v Version) String() string { return v.raw }

// Compare is -1, 0 or 1. Pre-releases come before their release. Of two that differ in build metadata alone, the one
// with the higher revision is the later.
func (v Version) Compare(w Version) int {
	return cmp.Or(
		cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch),
		comparePre(v.Pre, w.Pre), cmp.Compare(v.revision(), w.revision()),
	)
}

func comparePre(a, b []string) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(b), len(a)) // none is later than any
	}
	return slices.CompareFunc(a, b, compareIdentifiers)
}

// compareIdentifiers: numbers come before words (semver 2.0.0, item 11).
func compareIdentifiers(a, b string) int {
	n, aOK := number(a)
	m, bOK := number(b)
	switch {
	case aOK && bOK:
		return cmp.Compare(n, m)
	case aOK:
		return -1
	case bOK:
		return 1
	}
	return strings.Compare(a, b)
}

// revision is N of revN, 0 without.
func (v Version) revision() uint64 {
	for _, id := range v.Build {
		if text, ok := strings.CutPrefix(id, "rev"); ok {
			if n, ok := number(text); ok {
				return n
			}
		}
	}
	return 0
}
