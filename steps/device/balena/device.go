package balena

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// NewKey is 16 random bytes in hex: what a device may have as its uuid (E8), and as its key.
func NewKey() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand: it crashes the program instead)
	return hex.EncodeToString(raw[:])
}

// Registration is what a device is registered with. The uuid and the key are chosen before the request, so that a request
// whose answer was lost can be made again, and is understood when it was done already.
type Registration struct {
	Fleet              int64
	DeviceType         string
	UUID, DeviceAPIKey string
}

var (
	// ErrUUIDTaken is wrapped by the error for a uuid that is registered already: by this request whose answer was lost, if
	// it was chosen for it.
	ErrUUIDTaken = errors.New("the uuid is registered already")
	// ErrKeyTaken is wrapped by the error for a device key that is known already. The keys of deleted devices stay known.
	ErrKeyTaken = errors.New("the device key was used before")
)

// Register registers a device (E7) by the provisioning key of its fleet, which the client has to have, and returns its
// number and the key that counts.
func (c *Client) Register(ctx context.Context, r Registration) (int64, string, error) {
	what := "register a device in fleet " + fmt.Sprint(r.Fleet)
	a, err := c.send(ctx, http.MethodPost, "/device/register", map[string]any{
		"application": r.Fleet, "device_type": r.DeviceType, "uuid": r.UUID, "api_key": r.DeviceAPIKey,
	}, what, "see that fleet and device type are right")
	var refused *Refused
	if errors.As(err, &refused) && refused.Status == http.StatusConflict {
		switch {
		case strings.Contains(refused.Text, `"uuid"`):
			return 0, "", fmt.Errorf("%w: %w", ErrUUIDTaken, err)
		case strings.Contains(refused.Text, `"key"`):
			return 0, "", fmt.Errorf("%w: %w", ErrKeyTaken, err)
		}
	}
	if err != nil {
		return 0, "", err
	}
	id, key, err := parseRegistered(a.body, r.UUID)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", what, err)
	}
	return id, key, nil
}

// parseRegistered reads {"id":N,"uuid":"…","api_key":"…"}.
func parseRegistered(body []byte, uuid string) (int64, string, error) {
	tree, err := parseTree(body)
	if err != nil {
		return 0, "", fmt.Errorf("%w, expected id, uuid and api_key", err)
	}
	doc, _ := tree.(map[string]any)
	id := whole(doc["id"])
	key, _ := doc["api_key"].(string)
	if id <= 0 || key == "" || doc["uuid"] != uuid {
		return 0, "", fmt.Errorf("found no id, no key or another uuid in %d bytes, expected id, uuid and api_key", len(body))
	}
	return id, key, nil
}

// Device is what the API knows of a device (E14); texts are empty where it knows nothing.
type Device struct {
	ID int64
	// Heartbeat is online, timeout, offline or unknown: whether the device asks for its state. Online follows the VPN alone.
	Heartbeat, Status string
	Online, VPN       bool
	// OSVersion is as the device tells it, "balenaOS 6.1.24".
	OSVersion, OSVariant, Supervisor string
	Provisioning, LastEvent          string
	// Progress is that of the provisioning in percent, -1 where there is none.
	Progress int64
}

// selected are the members that are asked for; one that the API does not know would be an error 500 without a word.
const selected = "id,is_online,is_connected_to_vpn,api_heartbeat_state,overall_status,last_connectivity_event,os_version,os_variant," +
	"supervisor_version,provisioning_state,provisioning_progress"

const deviceRemedy = "see that the key may read the fleet's devices"

// Device asks for a device by its uuid; nil if there is none, or it is not for this key to see.
func (c *Client) Device(ctx context.Context, uuid string) (*Device, error) {
	rows, err := c.get(ctx, devicePath(uuid), url.Values{"$select": {selected}}, "look at device "+uuid, deviceRemedy)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return deviceOf(rows[0]), nil
}

// devicePath is the address of a device; uuids have hex digits alone.
func devicePath(uuid string) string { return "/v7/device(uuid='" + uuid + "')" }

func deviceOf(row map[string]any) *Device {
	d := &Device{
		ID: whole(row["id"]), Heartbeat: said(row["api_heartbeat_state"]), Status: said(row["overall_status"]),
		OSVersion: said(row["os_version"]), OSVariant: said(row["os_variant"]), Supervisor: said(row["supervisor_version"]),
		Provisioning: said(row["provisioning_state"]), LastEvent: said(row["last_connectivity_event"]), Progress: -1,
	}
	d.Online, _ = row["is_online"].(bool)
	d.VPN, _ = row["is_connected_to_vpn"].(bool)
	if row["provisioning_progress"] != nil {
		d.Progress = min(max(whole(row["provisioning_progress"]), 0), 100)
	}
	return d
}

// Seen says whether the device was ever heard of, and by what: then it is more than a registration.
func (d *Device) Seen() string {
	switch {
	case d.Heartbeat != "" && d.Heartbeat != "unknown":
		return "its heartbeat is " + d.Heartbeat
	case d.OSVersion != "":
		return "it told that it runs " + d.OSVersion
	case d.VPN || d.Online:
		return "it is connected"
	}
	return ""
}

// Remove deletes a device (E15). One that is gone already is no error.
func (c *Client) Remove(ctx context.Context, uuid string) error {
	_, err := c.send(ctx, http.MethodDelete, devicePath(uuid), nil, "delete device "+uuid, "see that the key may delete the fleet's devices")
	return err
}

// Owner is the uuid of the device that the client's key is of, empty if the key is of no device that there is.
func (c *Client) Owner(ctx context.Context) (string, error) {
	a, err := c.ask(ctx, c.request("/actor/v1/whoami", nil), "ask whose key it is", false)
	if Unknown(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	tree, err := parseTree(a.body)
	if err != nil {
		return "", fmt.Errorf("ask whose key it is: %w", err)
	}
	doc, _ := tree.(map[string]any)
	uuid, _ := doc["uuid"].(string)
	return uuid, nil
}

// SetDeviceKey gives a device one more key (E9).
func (c *Client) SetDeviceKey(ctx context.Context, id int64, key string) error {
	path := fmt.Sprintf("/api-key/device/%d/device-key", id)
	_, err := c.send(ctx, http.MethodPost, path, map[string]any{"apiKey": key}, fmt.Sprintf("give device %d a key", id), deviceRemedy)
	return err
}
