// Package browser drives Debian's Chromium by the W3C WebDriver protocol, and tests the report's page in it as a person
// would use it. It needs the Debian packages chromium and chromium-driver.
package browser

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-json"
)

// elementKey is the member that marks an element (WebDriver, section 12.1).
const elementKey = "element-6066-11e4-a52e-4f735466cecf"

// Browser is a session of its own: nothing of an earlier one is in it. Whatever goes wrong ends the test.
type Browser struct {
	t       testing.TB
	session string // URL
}

// Open starts a driver with a browser, and ends both with the test.
func Open(t testing.TB) *Browser {
	t.Helper()
	b := &Browser{t: t}
	root := start(t)
	args := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir=" + t.TempDir(), "--window-size=1280,900", "--hide-scrollbars",
		"--lang=en-GB", "about:blank",
	}
	made := call[struct {
		SessionID string `json:"sessionId"`
	}](b, http.MethodPost, root+"/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName":        "chrome",
		"goog:chromeOptions": map[string]any{"binary": "/usr/bin/chromium", "args": args},
		"goog:loggingPrefs":  map[string]string{"browser": "ALL", "performance": "ALL"},
	}}})
	b.session = root + "/session/" + made.SessionID
	t.Cleanup(func() { call[any](b, http.MethodDelete, b.session, nil) })
	b.Go("about:blank")
	b.Requests() // those of the browser's own first tab
	return b
}

var listening = regexp.MustCompile(`started successfully on port (\d+)`)

// start runs a driver on a free port and returns its address.
func start(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("chromedriver", "--port=0")
	cmd.Env = append(os.Environ(), "TZ=UTC", "HOME="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("chromedriver: %v (Debian package chromium-driver)", err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the browser too
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if port := listening.FindStringSubmatch(lines.Text()); port != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return "http://127.0.0.1:" + port[1]
		}
	}
	t.Fatalf("chromedriver ended without a port: %v", lines.Err())
	return ""
}

// call makes a request and returns the value of its answer.
func call[T any](b *Browser, method, url string, body any) T {
	b.t.Helper()
	var sent io.Reader
	if method == http.MethodPost {
		if body == nil {
			body = map[string]any{}
		}
		data, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, url, sent)
	if err != nil {
		b.t.Fatal(err)
	}
	client := http.Client{Timeout: 2 * time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatalf("webdriver: %v", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Value T `json:"value"`
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("webdriver: %s %s: %s: %s (%v)", method, url, resp.Status, data, err)
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		b.t.Fatalf("webdriver: %s: %v: %s", url, err, data)
	}
	return answer.Value
}

// Go opens an address and waits until it is loaded.
func (b *Browser) Go(url string) {
	b.t.Helper()
	call[any](b, http.MethodPost, b.session+"/url", map[string]string{"url": url})
}

// Run runs a function body in the page and returns what it returns.
func Run[T any](b *Browser, script string, args ...any) T {
	b.t.Helper()
	if args == nil {
		args = []any{}
	}
	return call[T](b, http.MethodPost, b.session+"/execute/sync", map[string]any{"script": script, "args": args})
}

// element finds one element.
func (b *Browser) element(css string) string {
	b.t.Helper()
	found := call[map[string]string](b, http.MethodPost, b.session+"/element", map[string]string{"using": "css selector", "value": css})
	return b.session + "/element/" + found[elementKey]
}

// Click brings an element to the middle of the screen and clicks as a mouse does: one that is covered can't be clicked.
func (b *Browser) Click(css string) {
	b.t.Helper()
	for range 2 { // rows get their real height when they come into sight
		Run[any](b, `document.querySelector(arguments[0]).scrollIntoView({block: 'center'})`, css)
	}
	call[any](b, http.MethodPost, b.element(css)+"/click", nil)
}

// Type types into an element.
func (b *Browser) Type(css, text string) {
	b.t.Helper()
	call[any](b, http.MethodPost, b.element(css)+"/value", map[string]string{"text": text})
}

// Keys presses keys one after the other on whatever has the focus. Special ones are those of WebDriver, section 17.4.2.
func (b *Browser) Keys(keys ...string) {
	b.t.Helper()
	var acts []map[string]string
	for _, k := range keys {
		acts = append(acts, map[string]string{"type": "keyDown", "value": k}, map[string]string{"type": "keyUp", "value": k})
	}
	call[any](b, http.MethodPost, b.session+"/actions", map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": acts}}})
}

// Text is what a person reads in an element.
func (b *Browser) Text(css string) string {
	b.t.Helper()
	return call[string](b, http.MethodGet, b.element(css)+"/text", nil)
}

// devtools sends a command of Chromium's own protocol.
func (b *Browser) devtools(command string, params map[string]any) {
	b.t.Helper()
	call[any](b, http.MethodPost, b.session+"/goog/cdp/execute", map[string]any{"cmd": command, "params": params})
}

// Screen makes the window a screen of this size in CSS pixels; phone also gives it a touch screen and a dense display.
func (b *Browser) Screen(width, height int, phone bool) {
	b.t.Helper()
	density := 1
	if phone {
		density = 2
	}
	b.devtools("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": density, "mobile": phone})
}

// Prefer sets what the system prefers: light or dark.
func (b *Browser) Prefer(scheme string) {
	b.t.Helper()
	b.devtools("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}})
}

// Shot saves a picture of what is seen, where BROWSER_SHOTS names a folder: for people, no test depends on it.
func (b *Browser) Shot(name string) {
	b.t.Helper()
	dir := os.Getenv("BROWSER_SHOTS")
	if dir == "" {
		return
	}
	data, err := base64.StdEncoding.DecodeString(call[string](b, http.MethodGet, b.session+"/screenshot", nil))
	if err == nil {
		err = os.WriteFile(dir+"/"+name+".png", data, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// entry is a line of one of the browser's logs.
type entry struct {
	Level   string `json:"level"`
	Message string `json:"message"`
}

// Console returns what was written to the console since the last call, errors of the page and of its policy included.
func (b *Browser) Console() []string {
	b.t.Helper()
	var lines []string
	for _, e := range call[[]entry](b, http.MethodPost, b.session+"/se/log", map[string]string{"type": "browser"}) {
		lines = append(lines, e.Level+" "+e.Message)
	}
	return lines
}

// Requests returns the addresses that pages asked for since the last call.
func (b *Browser) Requests() []string {
	b.t.Helper()
	var urls []string
	for _, e := range call[[]entry](b, http.MethodPost, b.session+"/se/log", map[string]string{"type": "performance"}) {
		var event struct {
			Message struct {
				Method string `json:"method"`
				Params struct {
					Request struct {
						URL string `json:"url"`
					} `json:"request"`
				} `json:"params"`
			} `json:"message"`
		}
		if err := json.Unmarshal([]byte(e.Message), &event); err != nil {
			b.t.Fatal(err)
		}
		if url := event.Message.Params.Request.URL; event.Message.Method == "Network.requestWillBeSent" && !strings.HasPrefix(url, "data:") {
			urls = append(urls, url)
		}
	}
	return urls
}
