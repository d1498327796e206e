package schema

import "path/filepath"

// Config is what the operator asks for: every option of the predecessor (S13–S36) and the useful ones of its
// peers (P1–P19) has a key here. config.json beside this file describes each one. Paths are the caller's own.
type Config struct {
	Image   ImageConfig   `json:"image"`
	Balena  BalenaConfig  `json:"balena"`
	Network NetworkConfig `json:"network"`
	Backup  BackupConfig  `json:"backup"`
	Boot    BootConfig    `json:"boot"`
	Disk    DiskConfig    `json:"disk"`
	Stage2  Stage2Config  `json:"stage2"`
	Checks  ChecksConfig  `json:"checks"`
	Reboot  RebootConfig  `json:"reboot"`
}

// ImageConfig names the balenaOS image (S13, P2, P3).
type ImageConfig struct {
	Path       string `json:"path"`
	URL        string `json:"url"`
	Version    string `json:"version"`
	SHA256     string `json:"sha256"`
	DeviceType string `json:"device_type"`
	// Index is the index of a prepared image at URL. Managed says that Path was put there for this migration.
	Index   string `json:"index,omitempty"`
	Managed bool   `json:"managed,omitempty"`
}

// BalenaConfig names the device's config.json and what must be reachable (S15, S33, P20).
type BalenaConfig struct {
	ConfigJSON      string `json:"config_json"`
	APIURL          string `json:"api_url"`
	TokenFile       string `json:"token_file"`
	VPNHost         string `json:"vpn_host"`
	VPNPort         int    `json:"vpn_port"`
	ConnectTimeoutS int    `json:"connect_timeout_s"`
}

// NetworkConfig selects the networks that go along (S16–S21, P14, P17).
type NetworkConfig struct {
	Wifi           string   `json:"wifi"`
	SSIDs          []string `json:"ssids"`
	SSIDFile       string   `json:"ssid_file"`
	FromConfigJSON bool     `json:"from_config_json"`
	Files          []string `json:"files"`
	FirstIndex     int      `json:"first_index"`
	Require        bool     `json:"require"`
	KeepHostname   bool     `json:"keep_hostname"`
}

// BackupConfig says what becomes backup.tgz (S22, F8).
type BackupConfig struct {
	Script         string   `json:"script"`
	ScriptTimeoutS int      `json:"script_timeout_s"`
	Definition     string   `json:"definition"`
	Volumes        []string `json:"volumes"`
}

// BootConfig says how stage 2 is started (S26, S28, S34).
type BootConfig struct {
	Method string     `json:"method"`
	Arm    bool       `json:"arm"`
	Debug  bool       `json:"debug"`
	Grub   GrubConfig `json:"grub"`
	// Watchdog is "auto" or "off".
	Watchdog string `json:"watchdog"`
}

// GrubConfig is for images that bring no boot loader of their own (S34, S57, S58).
type GrubConfig struct {
	BootDevice string `json:"boot_device"`
	Install    string `json:"install"`
	Cfg        string `json:"cfg"`
	BootImg    string `json:"boot_img"`
	CoreImg    string `json:"core_img"`
}

// DiskConfig names the target and its limits (S30–S32, P16). Speeds are in kB/s, min_free_mb in MiB.
type DiskConfig struct {
	Target       string `json:"target"`
	MinWriteKBs  int64  `json:"min_write_kb_s"`
	WarnWriteKBs int64  `json:"warn_write_kb_s"`
	MaxBadBlocks string `json:"max_bad_blocks"`
	MinFreeMB    int64  `json:"min_free_mb"`
}

// Stage2Config is for the initramfs (S23–S29). MinFreeMB is in MiB.
type Stage2Config struct {
	Flash        bool   `json:"flash"`
	AfterNoFlash string `json:"after_no_flash"`
	LogDevice    string `json:"log_device"`
	LogFS        string `json:"log_fs"`
	MinFreeMB    int64  `json:"min_free_mb"`
}

// ChecksConfig lists precheck's checks that are to be skipped by name (P13).
type ChecksConfig struct {
	Skip []string `json:"skip"`
}

// RebootConfig is the time between the result and the reboot, in seconds (S24).
type RebootConfig struct {
	DelayS int `json:"delay_s"`
}

// DefaultConfig returns the configuration of an empty document.
func DefaultConfig() Config {
	return Config{
		Balena: BalenaConfig{
			APIURL: "https://api.balena-cloud.com", VPNHost: "vpn.balena-cloud.com", VPNPort: 443, ConnectTimeoutS: 20,
		},
		Network: NetworkConfig{Wifi: "all", SSIDs: []string{}, Files: []string{}, FirstIndex: 1, Require: true, KeepHostname: true},
		Backup:  BackupConfig{ScriptTimeoutS: 3600, Volumes: []string{}},
		Boot:    BootConfig{Method: "auto", Arm: true, Watchdog: "auto", Grub: GrubConfig{BootDevice: "hd0", Install: "none"}},
		Disk:    DiskConfig{WarnWriteKBs: 200, MinFreeMB: 10},
		Stage2:  Stage2Config{Flash: true, AfterNoFlash: "continue", LogFS: "ext4", MinFreeMB: 64},
		Checks:  ChecksConfig{Skip: []string{}},
		Reboot:  RebootConfig{DelayS: 10},
	}
}

// ResolvePaths makes every file the configuration names absolute, relative ones being meant from base.
func (c *Config) ResolvePaths(base string) {
	paths := []*string{
		&c.Image.Path, &c.Image.Index, &c.Balena.ConfigJSON, &c.Balena.TokenFile, &c.Network.SSIDFile, &c.Backup.Script, &c.Backup.Definition,
		&c.Boot.Grub.Cfg, &c.Boot.Grub.BootImg, &c.Boot.Grub.CoreImg,
	}
	for i := range c.Network.Files {
		paths = append(paths, &c.Network.Files[i])
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
}
