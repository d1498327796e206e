// Package balena asks balena's API, or one of an openBalena: which versions of balenaOS there are for a device type and how
// to download one (P3, P27–P29, E11, E12), and for the registration of devices and what became of them (E7–E10, E14, E15).
package balena

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Fetcher asks web services; a host.Reader is one.
type Fetcher interface {
	Fetch(ctx context.Context, q host.Request) (*http.Response, error)
	Now() time.Time
}

// Client talks to one API. Its zero values of Tries, Idle and Wait are good.
type Client struct {
	Net Fetcher
	// URL is the API's address without a path, such as https://api.balena-cloud.com.
	URL string
	// Token is a session token or an API key, empty for what is public.
	Token string
	// Tries is how often a request is made at most; 0 is 5.
	Tries int
	// Idle is how long the server may say nothing; 0 is what host.Request takes.
	Idle time.Duration
	// Roots are who may vouch for the server; nil are those that the system trusts.
	Roots *x509.CertPool
	// Wait waits; nil waits really.
	Wait func(context.Context, time.Duration) error
}

// reply is an answer, its body read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

const (
	tries = 5
	// patience is the longest wait that a server may ask for.
	patience = 2 * time.Minute
	// maxAnswer bounds an answer, in bytes. A list of a thousand versions has about 100 kB.
	maxAnswer = 8 << 20
)

// Refused is an answer other than success.
type Refused struct {
	// Status is that of HTTP; What names the request, Text is the server's own word, if it is fit to be shown.
	Status     int
	What, Text string
	// Keyed says that a key was sent.
	Keyed bool
	// After is how long the server wants to be left alone, 0 if it did not say.
	After time.Duration
	// Remedy is what helps where neither the key nor the server is at fault; empty stands for requests about images.
	Remedy string
}

// Error implements error.
func (r *Refused) Error() string {
	text := r.Text
	if text == "" {
		text = http.StatusText(r.Status)
	}
	return fmt.Sprintf("%s: status %d: %s", r.What, r.Status, text)
}

// Hint is what helps, empty if nothing is known to.
func (r *Refused) Hint() string {
	switch {
	case r.Status == http.StatusUnauthorized && r.Keyed:
		return "the key is not known to this API, or not for this: give a valid one in BALENA_API_TOKEN or balena.token_file"
	case r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden:
		return "give an API key in BALENA_API_TOKEN or balena.token_file"
	case r.Status == http.StatusTooManyRequests:
		return "try again later"
	case r.Status >= http.StatusInternalServerError:
		return "try again later, and see that balena.api_url is right"
	case r.Remedy != "":
		return r.Remedy
	}
	return "mend config.image.version, or config.image.device_type"
}

// ErrPlain is wrapped by the error for an address to which a key would go for everyone to read.
var ErrPlain = errors.New("a key is not sent over http")

// Untrusted says whether an error is that nobody vouches for the server whom the system, or Client.Roots, trusts.
func Untrusted(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.As(err, &bad)
}

// request completes the address of a request.
func (c *Client) request(path string, query url.Values) host.Request {
	q := host.Request{
		URL:    strings.TrimRight(c.URL, "/") + path,
		Header: http.Header{"User-Agent": {"balena-migrate"}}, Allow: safe, Idle: c.Idle, Roots: c.Roots,
	}
	if len(query) > 0 {
		q.URL += "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	}
	if c.Token != "" {
		q.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return q
}

// safe refuses addresses that others on the way could listen to or answer for.
func safe(u *url.URL) error {
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%s://%s: %w, nor is an image taken from there: use https", u.Scheme, u.Host, ErrPlain)
}

// ask makes a request until it is answered, what names it in errors; unread leaves the body of a success alone. Trouble
// on the way, overload and errors of the server are tried again, later and later, or when the server says.
func (c *Client) ask(ctx context.Context, q host.Request, what string, unread bool) (reply, error) {
	return c.insist(ctx, func() host.Request { return q }, what, unread)
}

// insist makes a request until it is answered; each try has one of its own, for a body is read once.
func (c *Client) insist(ctx context.Context, q func() host.Request, what string, unread bool) (reply, error) {
	last, pause := c.Tries, time.Second
	if last == 0 {
		last = tries
	}
	for n := 1; ; n++ {
		a, err := c.try(ctx, q(), unread)
		again := !errors.Is(err, ErrPlain) && !Untrusted(err)
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		} else if err = c.refused(a, what); err != nil {
			again = a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError
		}
		if err == nil || !again || n == last || ctx.Err() != nil {
			return a, err
		}
		wait := max(pause, retryAfter(a, c.Net.Now()))
		if wait > patience {
			return a, fmt.Errorf("%w; it asks to wait for %s", err, wait)
		}
		if err := c.wait(ctx, wait); err != nil {
			return a, err
		}
		pause *= 2
	}
}

// try makes a request once.
func (c *Client) try(ctx context.Context, q host.Request, unread bool) (reply, error) {
	res, err := c.Net.Fetch(ctx, q)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	a := reply{status: res.StatusCode, header: res.Header}
	if unread && a.ok() {
		return a, nil
	}
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(a.body) > maxAnswer {
		err = fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	return a, err
}

func (a reply) ok() bool { return a.status >= 200 && a.status < 300 }

func (c *Client) wait(ctx context.Context, d time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, d)
	}
	return host.Sleep(ctx, d)
}

// refused is the error of an answer, nil for success.
func (c *Client) refused(a reply, what string) error {
	if a.ok() {
		return nil
	}
	return &Refused{
		Status: a.status, What: what, Text: word(a), Keyed: c.Token != "", After: max(0, retryAfter(a, c.Net.Now())),
	}
}

// maxWord is the longest word of a server that is shown, in bytes.
const maxWord = 300

// word is what the server says about an error: a JSON string, an object with a member "error", or a short text. Pages in
// HTML are not for here.
func word(a reply) string {
	text := strings.TrimSpace(string(a.body))
	if len(text) > maxWord || strings.HasPrefix(text, "<") {
		return ""
	}
	var tree any
	if json.Unmarshal([]byte(text), &tree) == nil {
		switch v := tree.(type) {
		case string:
			text = v
		case map[string]any:
			text, _ = v["error"].(string)
		}
	}
	return printable(text)
}

// printable is a text of others without what moves a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, text)
}

// retryAfter is how long the server wants to be left alone, in seconds or until a date (RFC 9110, 10.2.3).
func retryAfter(a reply, now time.Time) time.Duration {
	text := a.header.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return at.Sub(now)
	}
	return 0
}
