package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/device/registration"
	"github.com/balena-community/balena-migrate/steps/host"
)

type deviceCmd struct {
	Register deviceRegisterCmd `cmd:"" help:"Register a device in balena, once, and write its own config.json. To be run on the controller."`
	Wait     deviceWaitCmd     `cmd:"" help:"Wait until a registered device is online in balena on its new system."`
	Remove   deviceRemoveCmd   `cmd:"" help:"Remove the registration of a device whose migration failed before the flash."`
}

// deviceCommon are the options of all that asks balena for a device.
type deviceCommon struct {
	Name      string `arg:"" help:"Name of the device, as the inventory has it."`
	State     string `placeholder:"DIR" required:"" help:"Folder of the controller in which registrations are kept. It holds keys."`
	TokenFile string `placeholder:"FILE" help:"File with an API key or session token of a user. Default: the environment's BALENA_API_TOKEN."`
	CA        string `name:"ca" placeholder:"FILE" help:"Certificates that vouch for the API beside those the system trusts, PEM."`
	JSON      bool   `name:"json" help:"Write exactly one JSON document to standard output."`
}

type deviceRegisterCmd struct {
	deviceCommon
	Fleet      string `required:"" help:"Fleet: its number, its slug (org/name), or its name if there is only one of it."`
	DeviceType string `placeholder:"SLUG" help:"Device type. Default: the fleet's."`
	OSVersion  string `name:"os-version" placeholder:"VERSION" help:"Version of balenaOS that is to arrive. Default: any."`
	Hostname   string `help:"Host name for config.json."`
	Poll       int    `name:"update-poll" placeholder:"MINUTES" default:"10" help:"How often the device looks for updates."`
	APIURL     string `name:"api-url" placeholder:"URL" default:"https://api.balena-cloud.com" help:"The API, an openBalena's for example."`
	Check      bool   `help:"Only say what would be done."`
}

// Run implements the command.
func (c deviceRegisterCmd) Run(ctx context.Context, t terminal) error {
	d, err := c.open(t, c.APIURL, "")
	if err != nil {
		return err
	}
	wish := registration.Wish{
		Name: c.Name, Fleet: c.Fleet, DeviceType: c.DeviceType, OSVersion: c.OSVersion, Hostname: c.Hostname, Poll: c.Poll, RootCA: d.ca,
	}
	do := d.store.Register
	if c.Check {
		do = d.store.CheckRegister
	}
	doc, err := do(ctx, d.client, wish)
	if err != nil {
		return d.hinted(err)
	}
	text := doc.Msg
	if doc.ConfigJSON != "" {
		text += "; its config.json is " + doc.ConfigJSON
	}
	return d.say(doc, text)
}

type deviceWaitCmd struct {
	deviceCommon
	Timeout   time.Duration `default:"30m" help:"How long to wait at most."`
	Interval  time.Duration `default:"10s" help:"First pause between two looks; the pauses grow to a minute."`
	OSVersion string        `name:"os-version" placeholder:"VERSION" help:"Version of balenaOS that has to run. Default: that of the registration."`
	Once      bool          `help:"Look once, by one request."`
}

// Run implements the command. A device that is not online in time ends it with exit code 1, and a document of what was seen.
func (c deviceWaitCmd) Run(ctx context.Context, t terminal) error {
	d, err := c.known(t)
	if err != nil {
		return err
	}
	if c.Timeout <= 0 || c.Interval < time.Second {
		return &usageError{fmt.Errorf("found --timeout %s and --interval %s, expected more than 0s and at least 1s", c.Timeout, c.Interval)}
	}
	if c.Once {
		d.client.Tries = 1 // who asks again decides when
	}
	doc, err := d.store.Wait(ctx, d.client, c.Name, registration.Patience{
		Timeout: c.Timeout, Interval: c.Interval, Once: c.Once, OSVersion: c.OSVersion,
		Progress: func(msg string) { d.out.log.Info("waiting", zap.String("device", c.Name), zap.String("seen", msg)) },
	})
	if err != nil {
		return d.hinted(err)
	}
	if err := d.say(doc, doc.Msg); err != nil {
		return err
	}
	if doc.Failed {
		return exitError(exitFailed)
	}
	return nil
}

type deviceRemoveCmd struct {
	deviceCommon
	Force bool `help:"Also remove a device that was online, or told that it runs the new system."`
	Check bool `help:"Only say what would be done."`
}

// Run implements the command.
func (c deviceRemoveCmd) Run(ctx context.Context, t terminal) error {
	d, err := c.known(t)
	if err != nil {
		return err
	}
	doc, blocked, err := d.store.Remove(ctx, d.client, registration.Removal{Name: c.Name, Force: c.Force, Check: c.Check})
	if err != nil {
		return d.hinted(err)
	}
	if len(blocked) > 0 {
		return d.out.refuse(blocked)
	}
	return d.say(doc, doc.Msg)
}

// registrar is the controller's side of a device: its registration, and the API.
type registrar struct {
	out    *output
	store  *registration.Store
	client *balena.Client
	ca     string
}

// known opens the registrar of a device with the API that it is registered with.
func (c deviceCommon) known(t terminal) (*registrar, error) {
	dir, err := filepath.Abs(c.State)
	if err != nil {
		return nil, err
	}
	rec, err := (&registration.Store{Files: host.At("/"), Dir: dir}).Load(c.Name)
	if err != nil {
		return nil, named(err)
	}
	if rec == nil {
		rec = &schema.Registration{APIURL: schema.DefaultConfig().Balena.APIURL}
	}
	return c.open(t, rec.APIURL, rec.RootCA)
}

func named(err error) error {
	if errors.Is(err, registration.ErrName) {
		return &usageError{err}
	}
	return err
}

// open gets store and client ready.
func (c deviceCommon) open(t terminal, api, ca string) (*registrar, error) {
	out, err := newOutput(t, c.JSON)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(c.State)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(api); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, &usageError{fmt.Errorf("--api-url %s: expected an address such as https://api.balena-cloud.com", host.Shown(api))}
	}
	d := &registrar{out: out, store: &registration.Store{Files: host.At("/"), Dir: dir}, ca: ca}
	if d.client, err = c.client(api); err != nil {
		return nil, err
	}
	if c.CA != "" {
		data, err := d.store.Files.ReadFile(absolute(c.CA))
		if err != nil {
			return nil, fmt.Errorf("%w: --ca: %w", errInput, err)
		}
		d.ca = string(data)
	}
	if d.ca == "" {
		return d, nil
	}
	if d.client.Roots, err = x509.SystemCertPool(); err != nil {
		d.client.Roots = x509.NewCertPool()
	}
	if !d.client.Roots.AppendCertsFromPEM([]byte(d.ca)) {
		return nil, fmt.Errorf("%w: --ca %s: found no certificate, expected some in PEM", errInput, c.CA)
	}
	return d, nil
}

// absolute is a caller's path; it stays as it is where there is no current folder.
func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil && name != "" {
		return abs
	}
	return name
}

func (c deviceCommon) client(api string) (*balena.Client, error) {
	client, err := balena.NewClient(host.At("/"), schema.BalenaConfig{APIURL: api, TokenFile: absolute(c.TokenFile)}, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInput, err)
	}
	if client.Token == "" {
		return nil, steps.WithHint(fmt.Errorf("%w: found no key for balena's API, expected one in %s or --token-file", errInput, balena.TokenVariable),
			"create an API key in balena's dashboard (Preferences, Access tokens)")
	}
	return client, nil
}

// say shows a document, or its line to a person.
func (d *registrar) say(doc any, msg string) error {
	if d.out.json {
		return d.out.document(doc)
	}
	_, err := fmt.Fprintln(d.out.out, msg)
	return err
}

// hinted says what helps.
func (d *registrar) hinted(err error) error {
	var refused *balena.Refused
	var elsewhere *registration.Elsewhere
	switch {
	case errors.Is(err, registration.ErrProvisioning):
		return steps.WithHint(err, "delete the fleet's folder in "+filepath.Join(d.store.Dir, "fleets")+": the next run gets another key")
	case errors.Is(err, registration.ErrNotRegistered):
		return steps.WithHint(err, "register it first: balena-migrate device register")
	case errors.As(err, &elsewhere):
		return steps.WithHint(err, "if nothing uses it any more, balena-migrate device remove "+elsewhere.Name+"; otherwise ask for what is there")
	case errors.As(err, &refused):
		return steps.WithHint(err, strings.NewReplacer("balena.token_file", "--token-file", "balena.api_url", "--api-url").Replace(refused.Hint()))
	case balena.Untrusted(err):
		return steps.WithHint(err, "if it is an openBalena with certificates of its own, name them in --ca")
	case errors.Is(err, balena.ErrPlain):
		return steps.WithHint(err, "give an address with https in --api-url")
	case errors.Is(err, balena.ErrNone):
		return steps.WithHint(err, "name a version in --os-version")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return steps.WithHint(named(err), "see that the API can be reached at "+host.Shown(d.client.URL)+"; run it again, it goes on where it stopped")
}
