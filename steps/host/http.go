package host

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
	"time"
)

// ErrIdle is a server that said nothing for longer than it may.
var ErrIdle = errors.New("the server fell silent")

// Request is a question to an HTTP server, without a body unless Body is set.
type Request struct {
	// Method is GET if it is empty.
	Method string
	URL    string
	Header http.Header
	Body   io.Reader
	// Allow is asked of every address before it is connected to, the first and each that it redirects to; nil allows
	// all of them.
	Allow func(*url.URL) error
	// Idle is how long the server may say nothing, at the beginning or later; 0 is a minute.
	Idle time.Duration
	// Roots are who may vouch for the server; nil are those that the system trusts.
	Roots *x509.CertPool
}

// defaultIdle bounds every wait for a server; maxRedirects is what curl calls many.
const (
	defaultIdle  = time.Minute
	maxRedirects = 10
)

// Shown is an address fit for logs and errors: without credentials and without its query, which may be one.
func Shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not an address)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Fetch implements Reader. Nothing is unpacked on the way, proxies are those of the environment (HTTPS_PROXY, NO_PROXY),
// and errors don't show the query.
func (r *Rooted) Fetch(ctx context.Context, q Request) (*http.Response, error) {
	idle := q.Idle
	if idle == 0 {
		idle = defaultIdle
	}
	method := q.Method
	if method == "" {
		method = http.MethodGet
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, q.URL, q.Body)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("%s: %w", Shown(q.URL), bare(err))
	}
	for name, values := range q.Header {
		req.Header[name] = values
	}
	if err := q.allowed(req.URL); err != nil {
		cancel(nil)
		return nil, err
	}
	watch := time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w for %s", ErrIdle, idle)) })
	answer, err := q.client().Do(req)
	if err != nil {
		watch.Stop()
		err = because(ctx, bare(err))
		cancel(nil)
		return nil, fmt.Errorf("%s: %w", Shown(q.URL), err)
	}
	watch.Reset(idle)
	answer.Body = &watchedBody{ReadCloser: answer.Body, ctx: ctx, cancel: cancel, watch: watch, idle: idle}
	return answer, nil
}

func (q Request) allowed(u *url.URL) error {
	if q.Allow == nil {
		return nil
	}
	return q.Allow(u)
}

// client has connections of its own, so that none stays open.
func (q Request) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext, TLSHandshakeTimeout: 30 * time.Second,
			DisableCompression: true, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: q.Roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return q.allowed(next.URL)
		},
	}
}

// bare is the cause without the address that net/http puts before it, query and all.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// because puts the reason for which a context ended in the place of "context canceled".
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, ErrIdle) {
		return cause
	}
	return err
}

// watchedBody ends when the server says nothing for too long.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // it is the body's own, for the cause of its end
	cancel context.CancelCauseFunc
	watch  *time.Timer
	idle   time.Duration
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.watch.Stop() // what the reader does in between is not the server's silence
	if err != nil && !errors.Is(err, io.EOF) {
		err = because(b.ctx, bare(err))
	}
	return n, err
}

// Close implements io.Closer.
func (b *watchedBody) Close() error {
	b.watch.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
