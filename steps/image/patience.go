package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// patience bounds how long a server is asked for a file. All of it is there so that a device with a bad line ends up
// with the file or with a reason.
type patience struct {
	// tries in a row without a single byte are given up after; they are first apart, then twice as long each time, up
	// to most.
	tries       int
	first, most time.Duration
	// idle is how long a server may say nothing, total how long the whole download may take.
	idle, total time.Duration
	// obey is the longest Retry-After that is waited for.
	obey time.Duration
}

func defaultPatience() patience {
	return patience{tries: 8, first: time.Second, most: time.Minute, idle: time.Minute, total: 12 * time.Hour, obey: 15 * time.Minute}
}

// statusError is an answer other than the file. Some go away by themselves.
type statusError struct {
	address string
	status  int
	// after is Retry-After, 0 if it was not given.
	after time.Duration
}

// Error implements error.
func (e *statusError) Error() string {
	return fmt.Sprintf("%s: HTTP %d %s", e.address, e.status, http.StatusText(e.status))
}

// passing says whether asking again can help (RFC 9110, RFC 6585).
func (e *statusError) passing() bool {
	switch e.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the header: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(text); err == nil {
		return max(0, time.Duration(min(n, 1<<30))*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// hopeless is an error that another try would not change.
func hopeless(err error) bool {
	var r *refusal
	var s *statusError
	var h *steps.Hinted
	switch {
	case errors.As(err, &r), errors.As(err, &h):
		return true
	case errors.As(err, &s):
		return !s.passing()
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// insist runs try until it succeeds, says that there is no hope, or has failed too often in a row without progress,
// which try reports by its first result.
func (p patience) insist(ctx context.Context, try func() (bool, error)) error {
	for failures := 0; ; {
		progress, err := try()
		if err == nil || ctx.Err() != nil || hopeless(err) {
			return err
		}
		if progress {
			failures = 0
		}
		if failures++; failures >= p.tries {
			return steps.WithHint(fmt.Errorf("%w (tried %d times in a row)", err, failures), "look after the network and the server, then run this again: it goes on where it stopped")
		}
		wait, err := p.pause(failures, err)
		if err != nil {
			return err
		}
		if err := host.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// pause is how long to wait after so many failures, with some chance in it so that a fleet does not come back as one.
func (p patience) pause(failures int, err error) (time.Duration, error) {
	wait := min(p.first<<min(failures-1, 20), p.most)
	wait = wait/2 + rand.N(wait/2+1)
	var s *statusError
	if errors.As(err, &s) && s.after > 0 {
		if s.after > p.obey {
			return 0, steps.WithHint(fmt.Errorf("%w: it wants to be asked again in %s", err, s.after), "run this again later")
		}
		wait = max(wait, s.after)
	}
	return wait, nil
}

// head is what a server says of a file.
type head struct {
	size                   int64 // -1 if it does not say
	etag, modified, ranges string
}

// headOf reads an answer's header. A weak ETag does not promise the same bytes (RFC 9110, 8.8.1).
func headOf(answer *http.Response) head {
	h := head{size: answer.ContentLength, etag: answer.Header.Get("ETag"), modified: answer.Header.Get("Last-Modified"), ranges: answer.Header.Get("Content-Range")}
	if len(h.etag) < 2 || h.etag[0] != '"' {
		h.etag = ""
	}
	return h
}

// get asks for a file. Any other status than 200 and 206 is a *statusError.
func (r remote) get(ctx context.Context, h host.Reader, header http.Header) (*http.Response, error) {
	answer, err := h.Fetch(ctx, r.request(header))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent {
		return answer, nil
	}
	_ = answer.Body.Close() // its text is for a browser
	failed := &statusError{address: host.Shown(r.url), status: answer.StatusCode, after: retryAfter(answer.Header.Get("Retry-After"), h.Now())}
	if failed.passing() || failed.status == http.StatusRequestedRangeNotSatisfiable {
		return nil, failed
	}
	return nil, refuse(failed.Error(), "an image to download", "mend config.image.url, or download it yourself and set config.image.path")
}

// request is the one for the file, with more in its header. A key goes only where balena's own request lets it go.
func (r remote) request(header http.Header) host.Request {
	q := host.Request{URL: r.url, Header: header, Allow: r.allow, Idle: r.patience.idle}
	if r.chosen == nil {
		return q
	}
	q.Header, q.Allow = r.chosen.Request.Header.Clone(), r.chosen.Request.Allow
	maps.Copy(q.Header, header)
	return q
}

// head asks what the server has, for the price of the first few bytes: HEAD is not answered by every signed address.
func (r remote) head(ctx context.Context, h host.Reader) (head, error) {
	var out head
	p := r.patience
	p.tries = min(p.tries, 3)
	err := p.insist(ctx, func() (bool, error) {
		answer, err := r.get(ctx, h, nil)
		if err != nil {
			return false, err
		}
		out = headOf(answer)
		return true, answer.Body.Close()
	})
	return out, err
}
