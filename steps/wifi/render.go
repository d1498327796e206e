package wifi

import (
	"fmt"
	"maps"
	"slices"
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
	fmt.Fprintf(&b, "[connection]\nid=%s\ntype=%s\n", id, n.kindName())
	if n.priority != 0 {
		fmt.Fprintf(&b, "autoconnect-priority=%d\n", clamp(n.priority))
	}
	switch n.kindName() {
	case wifiKind:
		renderWifi(&b, n)
	case ethernetKind, vlanKind:
		renderWired(&b, n)
	case gsmKind:
		renderModem(&b, n)
	}
	if n.eap != nil {
		n.eap.render(&b)
	}
	ip := n.ip
	if ip == nil {
		ip = &addressing{}
	}
	ip.render(&b)
	return []byte(b.String())
}

func renderWifi(b *strings.Builder, n network) {
	b.WriteString("\n[wifi]\n")
	if n.hidden {
		b.WriteString("hidden=true\n")
	}
	fmt.Fprintf(b, "mode=infrastructure\nssid=%s\n", ssidValue(n.ssid))
	switch n.security {
	case psk:
		fmt.Fprintf(b, "\n[wifi-security]\nauth-alg=open\nkey-mgmt=wpa-psk\npsk=%s\n", escape(n.key))
	case sae:
		fmt.Fprintf(b, "\n[wifi-security]\nkey-mgmt=sae\npsk=%s\n", escape(n.key))
	case owe, wpaEAP, suiteB:
		fmt.Fprintf(b, "\n[wifi-security]\nkey-mgmt=%s\n", n.security)
	}
}

// renderWired writes Ethernet and VLANs. The interface is picked by its permanent address where that is known, because
// its name may be another one in the new system; a VLAN's own name is ours to give.
func renderWired(b *strings.Builder, n network) {
	if n.bind != "" {
		fmt.Fprintf(b, "interface-name=%s\n", escape(n.bind))
	}
	if n.mac != "" {
		fmt.Fprintf(b, "\n[ethernet]\nmac-address=%s\n", strings.ToUpper(n.mac))
	} else if n.kind == ethernetKind {
		b.WriteString("\n[ethernet]\n")
	}
	if n.kind == vlanKind {
		fmt.Fprintf(b, "\n[vlan]\nid=%d\n", n.vlan.id)
		if n.mac == "" {
			fmt.Fprintf(b, "parent=%s\n", escape(n.vlan.parent))
		}
	}
}

// renderModem writes a mobile connection.
func renderModem(b *strings.Builder, n network) {
	b.WriteString("\n[gsm]\n")
	for _, key := range slices.Sorted(maps.Keys(n.gsm)) {
		fmt.Fprintf(b, "%s=%s\n", key, escape(n.gsm[key]))
	}
}

func clamp(priority int) int { return max(-maxPriority, min(maxPriority, priority)) }
