package balena

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/host"
)

// TokenVariable is the environment variable that holds a session token or an API key.
const TokenVariable = "BALENA_API_TOKEN"

// NewClient is a client for the API of a configuration, balena.api_url or else that of config.json, which is nil if it
// could not be read. The key is that of the environment, else that of balena.token_file, else the one in config.json,
// which goes to no other API than its own (P29).
func NewClient(r host.Reader, c schema.BalenaConfig, config *configjson.File) (*Client, error) {
	out := &Client{Net: r, URL: c.APIURL}
	var own string
	if config != nil {
		own = config.Text("apiEndpoint")
	}
	if out.URL == "" {
		out.URL = own
	}
	if out.URL == "" {
		return nil, errors.New("no address of balena's API: found none in balena.api_url nor in config.json")
	}
	var err error
	if out.Token, err = token(r, c); err != nil {
		return nil, err
	}
	if config == nil || !sameHost(own, out.URL) {
		return out, nil
	}
	for _, name := range []string{"deviceApiKey", "apiKey"} {
		if out.Token == "" {
			out.Token = config.Text(name)
		}
	}
	return out, nil
}

// maxToken is the longest key that is read, in bytes. Session tokens have about 500.
const maxToken = 8 << 10

// token is what the operator gave.
func token(r host.Reader, c schema.BalenaConfig) (string, error) {
	if t := os.Getenv(TokenVariable); t != "" {
		return clean(t, TokenVariable)
	}
	if c.TokenFile == "" {
		return "", nil
	}
	info, err := r.Stat(c.TokenFile)
	switch {
	case err != nil:
		return "", fmt.Errorf("balena.token_file: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxToken:
		return "", fmt.Errorf("balena.token_file: %s: expected a file of at most %d bytes", c.TokenFile, maxToken)
	case info.Mode()&0o004 != 0:
		return "", fmt.Errorf("balena.token_file: %s: found mode %04o, expected a file that others can't read: chmod 600 it", c.TokenFile, info.Mode().Perm())
	}
	data, err := r.ReadFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("balena.token_file: %w", err)
	}
	return clean(string(data), c.TokenFile)
}

// clean refuses what can't go into a header, without showing it.
func clean(text, from string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("%s: found %d bytes that are no key, expected an API key or session token alone", from, len(text))
	}
	return text, nil
}

// sameHost compares two addresses.
func sameHost(a, b string) bool {
	u, err := url.Parse(a)
	v, err2 := url.Parse(b)
	return err == nil && err2 == nil && u.Host != "" && strings.EqualFold(u.Host, v.Host)
}
