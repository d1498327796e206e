package balena

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/steps/host"
)

// With is the client with another key.
func (c *Client) With(token string) *Client {
	other := *c
	other.Token = token
	return &other
}

// send makes a request with members as its JSON body, none for nil; remedy is what helps when it is refused. Like every
// request it may be made several times: what is asked for has to bear that.
func (c *Client) send(ctx context.Context, method, path string, members map[string]any, what, remedy string) (reply, error) {
	var body []byte
	if members != nil {
		var err error
		if body, err = json.Marshal(members); err != nil {
			return reply{}, fmt.Errorf("%s: %w", what, err)
		}
	}
	made := func() host.Request {
		q := c.request(path, nil)
		q.Method = method
		if body != nil {
			q.Header.Set("Content-Type", "application/json")
			q.Body = bytes.NewReader(body)
		}
		return q
	}
	a, err := c.insist(ctx, made, what, false)
	return a, remedied(err, remedy)
}

// get asks for a resource (OData).
func (c *Client) get(ctx context.Context, path string, query url.Values, what, remedy string) ([]map[string]any, error) {
	a, err := c.ask(ctx, c.request(path, query), what, false)
	if err != nil {
		return nil, remedied(err, remedy)
	}
	rows, err := parseRows(a.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return rows, nil
}

// remedied says what helps against a refusal.
func remedied(err error, remedy string) error {
	var r *Refused
	if errors.As(err, &r) {
		r.Remedy = remedy
	}
	return err
}

// is says whether an error is a refusal with this status.
func is(err error, status int) bool {
	var r *Refused
	return errors.As(err, &r) && r.Status == status
}

// Unknown says whether an error is the API's word that the key is none that it knows (401).
func Unknown(err error) bool { return is(err, http.StatusUnauthorized) }

// parseTree reads one JSON value, numbers as they are written. Its errors don't show the bytes, which may hold a key.
func parseTree(body []byte) (any, error) {
	var tree any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, fmt.Errorf("found %d bytes that are not JSON", len(body))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("found more than one JSON value in %d bytes", len(body))
	}
	return tree, nil
}

// parseRows reads an answer {"d":[{…}]}.
func parseRows(body []byte) ([]map[string]any, error) {
	tree, err := parseTree(body)
	if err != nil {
		return nil, fmt.Errorf("%w, expected rows", err)
	}
	doc, _ := tree.(map[string]any)
	list, ok := doc["d"].([]any)
	if !ok {
		return nil, fmt.Errorf("found no list %q in %d bytes, expected rows", "d", len(body))
	}
	rows := make([]map[string]any, len(list))
	for i, one := range list {
		if rows[i], ok = one.(map[string]any); !ok {
			return nil, fmt.Errorf("found a row that is no object in %d bytes", len(body))
		}
	}
	return rows, nil
}

// whole reads a whole number of a row, 0 for anything else.
func whole(v any) int64 {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	i, err := n.Int64()
	if err != nil {
		return 0
	}
	return i
}

// said reads a text of a row: one that is fit to be shown, as devices tell what they like.
func said(v any) string {
	text, _ := v.(string)
	if len(text) > maxWord {
		text = text[:maxWord]
	}
	return printable(text)
}
