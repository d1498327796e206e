package precheck

import (
	"fmt"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
)

// answer is the outcome of a check.
type answer struct {
	status  string
	got     string
	warning string
	blocked []schema.Blocked
}

func pass(format string, args ...any) answer {
	return answer{status: passed, got: fmt.Sprintf(format, args...)}
}

// warn goes on with what was found, and says why it may be wrong to.
func warn(got, why string) answer {
	return answer{status: warned, got: got, warning: why}
}

// unknown is for a check whose ground is missing.
func unknown(why string) answer {
	return answer{status: warned, got: "not known: " + why, warning: "could not look: " + why}
}

func block(got, want, remedy string) answer {
	return blockAll([]schema.Blocked{{Got: got, Want: want, Remedy: remedy}})
}

// blockAll needs at least one blocker.
func blockAll(all []schema.Blocked) answer {
	texts := make([]string, len(all))
	for i, b := range all {
		texts[i] = b.Got
	}
	return answer{status: blocked, got: strings.Join(texts, "; "), blocked: all}
}

// size shows bytes as a person reads them.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
