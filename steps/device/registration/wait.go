package registration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Patience is how a device is waited for.
type Patience struct {
	// Timeout bounds all of it. Interval is the first pause between two looks; the pauses grow to MaxPause.
	Timeout, Interval time.Duration
	// Once looks once.
	Once bool
	// OSVersion is the version that is expected; empty takes that of the registration.
	OSVersion string
	// Progress, when not nil, gets what is new.
	Progress func(msg string)
}

// MaxPause is the longest pause between two looks: a fleet that waits is no load for the API then, and nobody waits long for
// the news.
const MaxPause = time.Minute

// ErrNotRegistered is wrapped by the error for a device that was not registered from here.
var ErrNotRegistered = errors.New("not registered")

// Wait waits until a device is online in balena: its heartbeat is, and it tells that it runs balenaOS, in the version that
// was expected (E14). is_online alone would be the VPN's word, and may never come where the VPN is switched off. A device
// that is not online when the time is over is no error: the document says what was last seen.
func (s *Store) Wait(ctx context.Context, c *balena.Client, name string, p Patience) (*schema.DeviceArrival, error) {
	rec, err := s.Load(name)
	if err != nil {
		return nil, err
	}
	if rec == nil || rec.State != schema.Registered {
		return nil, fmt.Errorf("%s: %w", name, ErrNotRegistered)
	}
	expected, err := expectation(rec, p.OSVersion)
	if err != nil {
		return nil, err
	}
	w := &watch{
		client: c, rec: rec, expected: expected, patience: p, began: s.Files.Now(), now: s.Files.Now,
		doc: &schema.DeviceArrival{
			Schema: schema.DeviceArrivalName, Name: name, UUID: rec.UUID, Fleet: rec.Fleet, APIURL: rec.APIURL, Expected: expected.String(), Progress: -1,
		},
	}
	return w.run(ctx)
}

// expectation is the version that counts as the new system, an empty wish for any.
func expectation(rec *schema.Registration, asked string) (balena.Wish, error) {
	if asked == "" {
		asked = rec.OSVersion
	}
	if asked == "" {
		return balena.Wish{}, nil
	}
	return balena.ParseWish(asked)
}

type watch struct {
	client   *balena.Client
	rec      *schema.Registration
	expected balena.Wish
	patience Patience
	began    time.Time
	now      func() time.Time
	doc      *schema.DeviceArrival
}

// run looks until the device is online, is deleted, or the time is over.
func (w *watch) run(ctx context.Context) (*schema.DeviceArrival, error) {
	ctx, cancel := context.WithDeadline(ctx, w.began.Add(w.patience.Timeout))
	defer cancel()
	pause := w.patience.Interval
	for {
		after, err := w.look(ctx)
		if err != nil {
			return nil, err
		}
		if w.doc.Online || w.patience.Once || w.doc.Seen != "" && !w.doc.Registered {
			return w.finish(), nil
		}
		if host.Sleep(ctx, max(jitter(pause), after)) != nil {
			break
		}
		pause = min(pause*3/2, max(MaxPause, w.patience.Interval))
	}
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return w.finish(), nil
}

// jitter spreads a fleet that began at the same moment: 80 to 120 % of a pause.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // nothing to guess
}

// look asks once, and says how long the server wants to be left alone. What may go by itself is noted; what won't, such as a
// key that is not known, is an error.
func (w *watch) look(ctx context.Context) (time.Duration, error) {
	d, err := w.client.Device(ctx, w.rec.UUID)
	w.doc.Looks++
	w.doc.RetryAfter = 0
	var refused *balena.Refused
	switch {
	case err == nil:
		w.doc.Trouble = ""
		w.see(d)
		return 0, nil
	case errors.Is(err, balena.ErrPlain), errors.As(err, &refused) && !passing(refused.Status):
		return 0, err
	case ctx.Err() != nil && w.doc.Seen != "":
		return 0, nil // the time is over; what was seen before counts
	}
	w.doc.Trouble = err.Error()
	w.tell("no answer: " + w.doc.Trouble)
	if refused != nil {
		w.doc.RetryAfter = refused.After.Seconds()
		return refused.After, nil
	}
	return 0, nil
}

func passing(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError
}

// see notes what was answered.
func (w *watch) see(d *balena.Device) {
	before, doc := w.summary(), w.doc
	doc.Seen, doc.Registered = stamp(w.now()), d != nil
	if d != nil {
		doc.DeviceID, doc.Heartbeat, doc.Status, doc.IsOnline, doc.VPN = d.ID, d.Heartbeat, d.Status, d.Online, d.VPN
		doc.OSVersion, doc.OSVariant, doc.Supervisor, doc.LastEvent = d.OSVersion, d.OSVariant, d.Supervisor, d.LastEvent
		doc.Provisioning, doc.Progress = d.Provisioning, d.Progress
		doc.Online = d.Heartbeat == "online" && w.isNew(d.OSVersion)
	}
	if after := w.summary(); after != before || doc.Since == "" {
		doc.Since = doc.Seen
		w.tell(after)
	}
}

// isNew says whether what a device tells is balenaOS in the version that is expected: "balenaOS 6.1.24+rev1", "Resin OS 2.9.7".
func (w *watch) isNew(told string) bool {
	text, ours := strings.CutPrefix(told, "balenaOS ")
	if !ours {
		text, ours = strings.CutPrefix(told, "Resin OS ")
	}
	if !ours || w.expected.String() == "" {
		return ours
	}
	v, err := balena.ParseVersion(strings.TrimSpace(text))
	if err != nil {
		return false
	}
	_, err = w.expected.Choose([]balena.Version{v})
	return err == nil
}

// summary is the device's state in a line.
func (w *watch) summary() string {
	d := w.doc
	if d.Seen == "" {
		return "nothing was answered"
	}
	if !d.Registered {
		return "balena knows no such device (any more)"
	}
	text := "heartbeat " + d.Heartbeat
	if d.OSVersion != "" {
		text += ", " + d.OSVersion
	}
	if d.Supervisor != "" {
		text += ", supervisor " + d.Supervisor
	}
	if d.Provisioning != "" {
		text += ", " + d.Provisioning
	}
	if d.Progress >= 0 {
		text += fmt.Sprintf(", %d %%", d.Progress)
	}
	return text
}

func (w *watch) tell(msg string) {
	if w.patience.Progress != nil {
		w.patience.Progress(msg)
	}
}

// finish is the last word.
func (w *watch) finish() *schema.DeviceArrival {
	d := w.doc
	d.Failed = !d.Online
	d.Waited = max(w.now().Sub(w.began).Seconds(), 0)
	switch {
	case d.Online:
		d.Msg = fmt.Sprintf("%s is online: %s", d.Name, w.summary())
	case d.Seen == "" && d.Trouble != "":
		d.Msg = fmt.Sprintf("%s: balena could not be asked: %s", d.Name, d.Trouble)
	case d.Heartbeat == "online" && d.OSVersion != "" && d.Expected != "":
		d.Msg = fmt.Sprintf("%s is online, but runs %s instead of %s", d.Name, d.OSVersion, d.Expected)
	default:
		d.Msg = fmt.Sprintf("%s is not online: %s", d.Name, w.summary())
	}
	return d
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
