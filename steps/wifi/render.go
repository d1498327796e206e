package wifi

import (
	"fmt"
	"strings"
)

// maxPriority is the largest autoconnect-priority NetworkManager takes, and less 0 the smallest (nm-settings(5)).
const maxPriority = 999

// render is the connection file of a network under the given id (S85, F2).
func render(n network, id string) []byte {
	if n.file != nil {
		return n.file.with("connection", "id", id).bytes()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[connection]\nid=%s\ntype=wifi\n", id)
	if n.priority != 0 {
		fmt.Fprintf(&b, "autoconnect-priority=%d\n", clamp(n.priority))
	}
	b.WriteString("\n[wifi]\n")
	if n.hidden {
		b.WriteString("hidden=true\n")
	}
	fmt.Fprintf(&b, "mode=infrastructure\nssid=%s\n", ssidValue(n.ssid))
	switch n.security {
	case psk:
		fmt.Fprintf(&b, "\n[wifi-security]\nauth-alg=open\nkey-mgmt=wpa-psk\npsk=%s\n", escape(n.key))
	case sae:
		fmt.Fprintf(&b, "\n[wifi-security]\nkey-mgmt=sae\npsk=%s\n", escape(n.key))
	case owe:
		b.WriteString("\n[wifi-security]\nkey-mgmt=owe\n")
	}
	b.WriteString("\n[ipv4]\nmethod=auto\n\n[ipv6]\naddr-gen-mode=stable-privacy\nmethod=auto\n")
	return []byte(b.String())
}

func clamp(priority int) int { return max(-maxPriority, min(maxPriority, priority)) }
