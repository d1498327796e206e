package wifi

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Where the old system keeps its networks. /run/NetworkManager, /run/systemd/network and /run/netplan are not read: what
// lies there was made from one of these, or is gone after a restart of the old system as well.
const (
	nmDir       = "/etc/NetworkManager/system-connections"
	netplanDir  = "/etc/netplan"
	interfaces  = "/etc/network/interfaces"
	connmanDir  = "/var/lib/connman"
	networkdDir = "/etc/systemd/network"
	dhcpcdConf  = "/etc/dhcpcd.conf"
	wpaDir      = "/etc/wpa_supplicant"
)

// sources reads every way in which a Linux system is told of its networks, in the order of preference: of two that know
// one SSID or one interface the first counts. NetworkManager's files go first, because they hold most (P31), and
// wpa_supplicant's last, because they hold least; all are read (S76). parents is told of NetworkManager's uuids.
func sources(r host.Reader, parents map[string]string) ([]harvest, error) {
	var out []harvest
	for _, read := range []func(host.Reader) (harvest, error){
		func(r host.Reader) (harvest, error) { return readNM(r, parents) },
		readNetplan, readIfupdown, readConnman, readNetworkd, readDhcpcd, readWPA,
	} {
		h, err := read(r)
		if err != nil {
			return nil, fmt.Errorf("look for networks: %w", err)
		}
		out = append(out, h)
	}
	return out, nil
}

// readNM reads the directory of connection files.
func readNM(r host.Reader, parents map[string]string) (harvest, error) {
	return readDir(r, nmDir, func(name string) bool { return !ignored(name) }, func(data []byte, source string) harvest {
		if k, err := parseKeyfile(data, source); err == nil {
			if uuid, name := k.get("connection", "uuid"), k.get("connection", "interface-name"); uuid != "" {
				parents[uuid] = name
			}
		}
		networks, refused := parseNM(data, source)
		return harvest{networks: networks, refused: refused}
	})
}

func readWPA(r host.Reader) (harvest, error) {
	return readDir(r, wpaDir, isWPA, wpaHarvest)
}

// isWPA: Debian's wpa_supplicant@.service reads wpa_supplicant-<interface>.conf, dhcpcd and others the plain name.
func isWPA(name string) bool {
	return name == "wpa_supplicant.conf" || strings.HasPrefix(name, "wpa_supplicant-") && strings.HasSuffix(name, ".conf")
}

// wpaHarvest parses a file that may be for one interface, which its name then says.
func wpaHarvest(data []byte, source string) harvest {
	name := strings.TrimSuffix(strings.TrimPrefix(path.Base(source), "wpa_supplicant"), ".conf")
	name = strings.TrimPrefix(strings.TrimPrefix(name, "-nl80211"), "-wired")
	networks, refused := parseWPA(data, source)
	h := harvest{networks: networks, refused: refused}
	h.setInterface(strings.TrimPrefix(name, "-"))
	return h
}

func (h *harvest) setInterface(name string) {
	for i := range h.networks {
		h.networks[i].iface = name
	}
	for i := range h.refused {
		h.refused[i].iface = name
	}
}

func readNetplan(r host.Reader) (harvest, error) {
	files, h, err := readAll(r, netplanDir, func(name string) bool { return path.Ext(name) == ".yaml" })
	if err == nil && len(files) > 0 {
		h.add(parseNetplan(files, netplanDir))
	}
	return h, err
}

func readConnman(r host.Reader) (harvest, error) {
	h, err := readDir(r, connmanDir, func(name string) bool { return path.Ext(name) == ".config" }, parseConnman)
	if err != nil {
		return h, err
	}
	entries, err := r.ReadDir(connmanDir)
	if err != nil {
		return h, absent(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		more, err := readDir(r, path.Join(connmanDir, e.Name()), func(name string) bool { return name == "settings" }, parseConnman)
		if err != nil {
			return h, err
		}
		h.add(more)
	}
	return h, nil
}

func readNetworkd(r host.Reader) (harvest, error) {
	is := func(name string) bool { return path.Ext(name) == ".network" || path.Ext(name) == ".netdev" }
	files, h, err := readAll(r, networkdDir, is)
	if err != nil || len(files) == 0 {
		return h, err
	}
	for _, name := range sortedNames(files) {
		drops, more, err := readAll(r, path.Join(networkdDir, name+".d"), func(name string) bool { return path.Ext(name) == ".conf" })
		if err != nil {
			return h, err
		}
		h.add(more)
		for drop, data := range drops {
			files[path.Join(name+".d", drop)] = data
		}
	}
	h.add(parseNetworkd(files, networkdDir))
	return h, nil
}

func readDhcpcd(r host.Reader) (harvest, error) {
	data, problem, err := read(r, dhcpcdConf)
	if err != nil || problem != "" {
		return harvest{}, err
	}
	return parseDhcpcd(data, dhcpcdConf), nil
}

// readIfupdown reads interfaces(5), what it includes, and the files that wpa-conf names.
func readIfupdown(r host.Reader) (harvest, error) {
	data, problem, err := read(r, interfaces)
	if err != nil || problem != "" {
		return harvest{}, err
	}
	var broken error
	h := parseIfupdown(data, interfaces, func(pattern string, dir bool) map[string][]byte {
		files, err := includedFiles(r, pattern, dir)
		broken = errors.Join(broken, err)
		return files
	})
	for _, name := range sortedNames(h.wpaConf) {
		if path.Dir(name) == wpaDir && isWPA(path.Base(name)) {
			continue // read with its directory
		}
		data, problem, err := read(r, name)
		switch {
		case err != nil:
			return h, err
		case problem != "":
			h.refuse(interfaces, h.wpaConf[name], "", "names "+name+" (wpa-conf), which "+problem)
			continue
		}
		more := wpaHarvest(data, name)
		more.setInterface(h.wpaConf[name])
		h.add(more)
	}
	return h, broken
}

// includedFiles reads what source and source-directory name; the latter takes names of letters, digits, _ and - only.
func includedFiles(r host.Reader, pattern string, dir bool) (map[string][]byte, error) {
	base, names := path.Split(pattern)
	if dir {
		base, names = pattern, "*"
	}
	const word = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	files, _, err := readAll(r, path.Clean(base), func(name string) bool {
		ok, err := path.Match(names, name)
		return ok && err == nil && (!dir || strings.Trim(name, word) == "")
	})
	out := map[string][]byte{}
	for name, data := range files {
		out[path.Join(base, name)] = data
	}
	return out, err
}

// readDir reads the files of a directory that are wanted, each by itself.
func readDir(r host.Reader, dir string, want func(string) bool, parse func(data []byte, source string) harvest) (harvest, error) {
	files, h, err := readAll(r, dir, want)
	for _, name := range sortedNames(files) {
		h.add(parse(files[name], path.Join(dir, name)))
	}
	return h, err
}

// readAll reads the files of a directory that are wanted. What can't be read is refused by name.
func readAll(r host.Reader, dir string, want func(string) bool) (map[string][]byte, harvest, error) {
	var h harvest
	entries, err := r.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, h, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if e.IsDir() || !want(e.Name()) {
			continue
		}
		source := path.Join(dir, e.Name())
		data, problem, err := read(r, source)
		if err != nil {
			return nil, h, err
		}
		if problem != "" {
			h.refuse(source, "", "", problem)
			continue
		}
		files[e.Name()] = data
	}
	return files, h, nil
}
