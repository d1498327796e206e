package precheck

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
)

// dial connects to what is to be reached, to all at the same time, and returns how it went by address.
func (l *look) dial(ctx context.Context) map[string]error {
	timeout := time.Duration(l.Config.Balena.ConnectTimeoutS) * time.Second
	out := map[string]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, address := range map[string]string{"api": l.apiAddress(), "vpn": l.vpnAddress()} {
		if address == "" || l.skips(name) {
			continue
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			err := l.Device.Dial(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			out[address] = err
		})
	}
	all.Wait()
	return out
}

// apiAddress is host:port of the balena API. config.json's own is what the new system will use (P20): it counts
// unless the configuration names another than the default.
func (l *look) apiAddress() string {
	configured := l.Config.Balena.APIURL
	if c := l.config.file; c != nil && configured == schema.DefaultConfig().Balena.APIURL && c.Text("apiEndpoint") != "" {
		configured = c.Text("apiEndpoint")
	}
	u, err := url.Parse(configured)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// vpnAddress is host:port of the VPN, found like the API's.
func (l *look) vpnAddress() string {
	b, usual := l.Config.Balena, schema.DefaultConfig().Balena
	if b.VPNHost == "" {
		return ""
	}
	hostName, port := b.VPNHost, b.VPNPort
	if c := l.config.file; c != nil && b.VPNHost == usual.VPNHost && b.VPNPort == usual.VPNPort {
		hostName, port = ownVPN(c, hostName, port)
	}
	return net.JoinHostPort(hostName, strconv.Itoa(port))
}

func ownVPN(c *configjson.File, hostName string, port int) (string, int) {
	if own := c.Text("vpnEndpoint"); own != "" {
		hostName = own
	}
	if own := c.Number("vpnPort"); own > 0 && own < 1<<16 {
		port = int(own)
	}
	return hostName, port
}

// askAPI is S33 and S40.
func (l *look) askAPI() answer {
	return l.askReach("balena.api_url", l.Config.Balena.APIURL, l.apiAddress())
}

// askVPN is S33 and S40.
func (l *look) askVPN() answer {
	return l.askReach("balena.vpn_host", l.Config.Balena.VPNHost, l.vpnAddress())
}

func (l *look) askReach(key, configured, address string) answer {
	switch {
	case configured == "":
		return answer{status: skipped, got: "not checked", warning: "not checked, as " + key + " is empty"}
	case address == "":
		return block(configured+" without a host", "an address that can be connected to", "mend "+key)
	}
	err := l.reach[address]
	var dns *net.DNSError
	switch {
	case err == nil:
		return pass("%s answers", address)
	case errors.As(err, &dns):
		return block(err.Error(), "the address of "+address, "look at the device's name resolution (/etc/resolv.conf); the new system needs one as well")
	}
	return block(err.Error(), "a connection to "+address+" within "+strconv.Itoa(l.Config.Balena.ConnectTimeoutS)+" s",
		"open the firewall for it, or raise balena.connect_timeout_s: a device that can't reach balena is lost after the migration")
}
