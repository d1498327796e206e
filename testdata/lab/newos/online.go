package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// address is what QEMU's user network gives its guest; the host is 10.0.2.2 there.
	address, netmask = "\x0a\x00\x02\x0f", "\xff\xff\xff\x00"
	// osVersion is what this system says to be, and its image's name.
	osVersion = "balenaOS 6.1.24"
	// pollInterval is between two requests for the target state.
	pollInterval = 2 * time.Second
	// answerTimeout bounds a request.
	answerTimeout = 20 * time.Second
)

// identity is what config.json says of a device that was registered beforehand (E4).
type identity struct {
	APIEndpoint  string `json:"apiEndpoint"`
	UUID         string `json:"uuid"`
	DeviceAPIKey string `json:"deviceApiKey"`
	RootCA       string `json:"balenaRootCA"` // base64 of PEM
}

func (i identity) registered() bool { return i.UUID != "" && i.DeviceAPIKey != "" }

// readIdentity reads config.json. Whatever is wrong with it, the device is not registered.
func readIdentity(name string) identity {
	var i identity
	text, err := os.ReadFile(name)
	if err == nil {
		_ = json.Unmarshal(text, &i)
	}
	return i
}

// online acts as the supervisor of a registered device does, for good: it says which system it is and asks for its target
// state, which is its heartbeat. What goes wrong is told on the console, where a test looks.
func (i identity) online(console io.Writer) {
	if err := networkUp("eth0"); err != nil {
		fmt.Fprintf(console, "NEWOS-OFFLINE %v\n", err)
	}
	client := i.client()
	told := false
	for ; ; time.Sleep(pollInterval) {
		err := i.heartbeat(client)
		if err != nil {
			fmt.Fprintf(console, "NEWOS-OFFLINE %v\n", err)
		} else if !told {
			fmt.Fprintf(console, "NEWOS-ONLINE %s\n", i.UUID)
			told = true
		}
	}
}

// heartbeat is one turn of the supervisor's: report, then ask.
func (i identity) heartbeat(client *http.Client) error {
	local, err := json.Marshal(map[string]any{"local": map[string]string{"os_version": osVersion, "supervisor_version": "16.7.0"}})
	if err != nil {
		return err
	}
	if err := i.call(client, http.MethodPatch, "/device/v2/"+i.UUID+"/state", local); err != nil {
		return err
	}
	return i.call(client, http.MethodGet, "/device/v3/"+i.UUID+"/state", nil)
}

func (i identity) call(client *http.Client, method, path string, body []byte) error {
	request, err := http.NewRequest(method, i.APIEndpoint+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+i.DeviceAPIKey)
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, answer.Status)
	}
	return nil
}

// client trusts who config.json says, and nobody else: there are no other certificates here.
func (i identity) client() *http.Client {
	trusted := x509.NewCertPool()
	if pem, err := base64.StdEncoding.DecodeString(i.RootCA); err == nil {
		trusted.AppendCertsFromPEM(pem)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	return &http.Client{Timeout: answerTimeout, Transport: transport}
}

// networkUp gives an interface its address and switches it on (netdevice(7)). The host is on the same network: no route
// is needed.
func networkUp(name string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	for _, set := range []struct {
		request uint
		address string
	}{{unix.SIOCSIFADDR, address}, {unix.SIOCSIFNETMASK, netmask}} {
		ifreq, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := ifreq.SetInet4Addr([]byte(set.address)); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, set.request, ifreq); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifreq.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, ifreq)
}
