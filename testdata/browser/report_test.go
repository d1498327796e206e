package browser

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/report"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/testdata/fleet"
)

// made is when the reports are made: shortly after the fleets' runs.
var made = fleet.Began.Add(2 * time.Hour)

// page makes the page of a results directory and returns its address.
func page(t testing.TB, dir string) string {
	t.Helper()
	all, err := report.Read(host.At("/"), dir, made)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := report.HTML(f, all); err != nil {
		t.Fatal(err)
	}
	return "file://" + name
}

// many is a directory with n devices.
func many(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	if err := fleet.Write(dir, n); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open shows a page of n devices.
func open(t *testing.T, n int) *Browser {
	t.Helper()
	b := Open(t)
	b.Go(page(t, many(t, n)))
	return b
}

// quiet holds that nothing went wrong in the page and that nothing was asked of a network.
func (b *Browser) quiet(t *testing.T) {
	t.Helper()
	if lines := b.Console(); len(lines) > 0 {
		t.Errorf("on the console: %s", strings.Join(lines, "\n"))
	}
	for _, url := range b.Requests() {
		if !strings.HasPrefix(url, "file:///") || !strings.HasSuffix(strings.SplitN(url, "#", 2)[0], "/report.html") {
			t.Errorf("the page asked for %s", url)
		}
	}
}

// shown are the hosts of the rows that are displayed, in order.
func (b *Browser) shown() []string {
	b.t.Helper()
	return Run[[]string](b, `return [...document.querySelectorAll('.device')].filter((d) => d.offsetHeight > 0).map((d) => d.querySelector('b').textContent)`)
}

// fates are those of the rows that are displayed, each once, in order.
func (b *Browser) fates() []string {
	b.t.Helper()
	return slices.Compact(Run[[]string](b, `return [...document.querySelectorAll('.device')].filter((d) => d.offsetHeight > 0).map((d) => d.dataset.fate)`))
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestGlance(t *testing.T) {
	b := open(t, 120)
	all, err := report.Read(host.At("/"), many(t, 120), made)
	if err != nil {
		t.Fatal(err)
	}
	trouble := 0
	for _, f := range schema.Fates() {
		n := report.Count(&all.Counts, f)
		if f.Trouble() {
			trouble += n
		}
		same(t, "tile of "+string(f), strings.Fields(b.Text(`.tile[data-fate=` + string(f) + `]`))[0], n)
	}
	same(t, "verdict", b.Text("#verdict"), fmt.Sprintf("%d devices need you.", trouble))
	same(t, "rows", len(b.shown()), 120)
	same(t, "order", b.fates(), schema.Fates())
	same(t, "causes", Run[int](b, `return document.querySelectorAll('.cause').length`), len(all.Causes))
	if text := b.Text(".cause"); !strings.Contains(text, all.Causes[0].Cause) || !strings.Contains(text, all.Causes[0].Remedy) {
		t.Errorf("first cause: %q, want %q and %q", text, all.Causes[0].Cause, all.Causes[0].Remedy)
	}
	b.Shot("light")
	b.quiet(t)
}

func TestFilter(t *testing.T) {
	b := open(t, 120)
	b.Click(`.tile[data-fate=blocked]`)
	same(t, "blocked only", b.fates(), "[blocked]")
	same(t, "pressed", Run[string](b, `return document.querySelector('.tile[data-fate=blocked]').ariaPressed`), "true")
	b.Click(`.tile[data-fate=lost]`)
	same(t, "and lost", b.fates(), "[lost blocked]")
	if text := b.Text("#shown"); !strings.Contains(text, " of 120 devices") {
		t.Errorf("count %q", text)
	}
	b.Click("#clear")
	same(t, "all again", len(b.shown()), 120)

	b.Type("#search", "MEMORY precheck-no-such")
	same(t, "no device", len(b.shown()), 0)
	if !strings.Contains(b.Text("#none"), "No device fits") {
		t.Errorf("an empty list says %q", b.Text("#none"))
	}
	b.Click("#none button")
	b.Type("#search", "raspbian LISBON")
	for _, h := range b.shown() {
		if !strings.HasPrefix(h, "sensor-") {
			t.Errorf("%s was found by its system and its group, want sensors only", h)
		}
	}
	if n := len(b.shown()); n == 0 || n == 120 {
		t.Errorf("%d devices found", n)
	}
	b.Click("#clear")

	b.Click(".cause")
	text := b.Text("#shown")
	same(t, "devices of the first cause", strings.Fields(text)[0], strings.Fields(b.Text(".cause"))[0])
	same(t, "fates of the first cause", len(b.fates()), 1)
	b.Go(Run[string](b, `return location.href`)) // the view is in the address
	same(t, "after a reload", b.Text("#shown"), text)
	b.Click("#clear")
	b.Click(`#group option[value=oslo]`)
	n := len(b.shown())
	if n == 0 || n == 120 {
		t.Errorf("%d devices in the group", n)
	}
	b.quiet(t)
}

func TestSort(t *testing.T) {
	b := open(t, 60)
	b.Click(`#sort option[value=name]`)
	got := b.shown()
	want := slices.Clone(got)
	slices.SortFunc(want, func(a, b string) int {
		var an, bn int
		as, bs := a[:strings.LastIndex(a, "-")], b[:strings.LastIndex(b, "-")]
		fmt.Sscan(a[len(as)+1:], &an)
		fmt.Sscan(b[len(bs)+1:], &bn)
		return strings.Compare(as, bs)*1000 + an - bn
	})
	same(t, "by name, numbers as numbers", got, want)
	b.Click(`#sort option[value=time]`)
	times := Run[[]float64](b, `const t = (s) => s.includes(':') ? s.split(':').reduce((a, p) => a * 60 + parseFloat(p), 0) : parseFloat(s) || 0;
		return [...document.querySelectorAll('.took')].map((e) => t(e.textContent))`)
	if !slices.IsSortedFunc(times, func(a, b float64) int { return int(b - a) }) {
		t.Errorf("by time: %v", times)
	}
	b.quiet(t)
}

func TestTimeline(t *testing.T) {
	b := open(t, 120)
	b.Click(`.device[data-fate=back] .row`)
	b.Shot("open")
	text := b.Text(`.device[data-fate=back] .detail`)
	for _, want := range []string{"build-initramfs", "arm-boot", "wait", "is damaged: its digest differs", "verify-image", "22 s", "remedy", "16 GiB"} {
		if !strings.Contains(text, want) {
			t.Errorf("the timeline lacks %q:\n%s", want, text)
		}
	}
	bars := Run[[][]float64](b, `const d = document.querySelector('.device[data-fate=back] .detail .steps');
		return [...d.querySelectorAll(':scope > li > .step .track')].map((t) => { const o = t.getBoundingClientRect(), i = t.firstChild.getBoundingClientRect();
			return [(i.left - o.left) / o.width, i.width / o.width]; })`)
	same(t, "bars", len(bars), 9)
	for i := 1; i < len(bars); i++ {
		if bars[i][0] < bars[i-1][0] {
			t.Errorf("step %d begins at %v, before step %d at %v", i, bars[i][0], i-1, bars[i-1][0])
		}
	}
	if bars[8][1] < 0.3 || bars[5][1] > 0.05 {
		t.Errorf("the wait takes %v of the width, build-initramfs %v; want the widths of 260 s and 3 s", bars[8][1], bars[5][1])
	}
	b.Click(`.device[data-fate=blocked] .row`)
	text = b.Text(`.device[data-fate=blocked] .detail`)
	for _, want := range []string{"found", "expected", "remedy"} {
		if !strings.Contains(text, want) {
			t.Errorf("a blocker lacks %q:\n%s", want, text)
		}
	}
	b.Click(`.device[data-fate=back] .row`)
	same(t, "shut again", Run[bool](b, `return document.querySelector('.device[data-fate=back] .detail').hidden`), true)
	b.quiet(t)
}

// The keys of WebDriver.
const (
	enter, escape, up, down, home, end, tab = "\ue007", "\ue00c", "\ue013", "\ue015", "\ue011", "\ue010", "\ue004"
)

func TestKeyboard(t *testing.T) {
	b := open(t, 60)
	focus := func() string {
		return Run[string](b, `const e = document.activeElement; return e.id || e.querySelector('b')?.textContent || e.textContent`)
	}
	b.Keys(tab)
	same(t, "first stop", focus(), "To the devices")
	b.Keys("/")
	same(t, "slash", focus(), "search")
	b.Keys("/", "k", "i", "o", "s", "k")
	same(t, "typed", Run[string](b, `return document.getElementById('search').value`), "/kiosk")
	b.Keys(escape)
	same(t, "escape clears", len(b.shown()), 60)
	b.Keys("k", "i", "o", "s", "k", down)
	rows := b.shown()
	same(t, "down from the search", focus(), rows[0])
	b.Keys(down, down, up)
	same(t, "up and down", focus(), rows[1])
	b.Keys(end)
	same(t, "end", focus(), rows[len(rows)-1])
	b.Keys(home, enter)
	same(t, "enter opens", Run[string](b, `return document.activeElement.getAttribute('aria-expanded')`), "true")
	b.Keys(up)
	same(t, "up from the first", focus(), "search")
	same(t, "all that can be pressed has a name", Run[int](b, `return [...document.querySelectorAll('button, input, select')]
		.filter((e) => !(e.textContent.trim() || e.ariaLabel)).length`), 0)
	b.quiet(t)
}

func TestTheme(t *testing.T) {
	b := open(t, 40)
	background := func() string { return Run[string](b, `return getComputedStyle(document.body).backgroundColor`) }
	b.Prefer("light")
	light := background()
	b.Prefer("dark")
	dark := background()
	if light == dark {
		t.Errorf("light and dark have the same background %s", light)
	}
	b.Shot("dark")
	b.Click("#theme") // light
	same(t, "light on a dark system", background(), light)
	b.Go(Run[string](b, `return location.href`))
	same(t, "after a reload", background(), light)
	b.Prefer("light")
	b.Click("#theme") // dark
	same(t, "dark on a light system", background(), dark)
	b.Click("#theme") // system
	same(t, "system", background(), light)
	for _, scheme := range []string{"light", "dark"} {
		b.Prefer(scheme)
		if low := Run[[]string](b, contrast); len(low) > 0 {
			t.Errorf("%s: texts with less than 4.5:1 against their ground (WCAG 2.1, 1.4.3): %v", scheme, low)
		}
	}
	b.quiet(t)
}

// contrast lists the texts that are hard to read against their ground.
const contrast = `
	document.querySelectorAll('.row').forEach((r) => { if (r.getAttribute('aria-expanded') === 'false') r.click(); });
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return c.startsWith('color(') ? [m[0] * 255, m[1] * 255, m[2] * 255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
	const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
	const low = new Set();
	for (const e of document.querySelectorAll('h1, h2, p, span, b, small, dt, dd, em, button, summary, li')) {
		if (!e.offsetHeight || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
		const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) low.add(e.tagName + '.' + e.className + ' ' + (e.closest('[data-status]')?.dataset.status || e.closest('[data-fate]')?.dataset.fate || '') + ' ' + ratio.toFixed(2));
	}
	return [...low];`

func TestPhone(t *testing.T) {
	b := Open(t)
	for _, width := range []int{320, 390} {
		b.Screen(width, 844, true)
		b.Go(page(t, many(t, 60)))
		b.Shot(fmt.Sprintf("phone-%d", width))
		b.Click(`.device[data-fate=blocked] .row`)
		b.Click(`.device[data-fate=back] .row`)
		Run[any](b, `document.querySelector('.device[data-fate=back]').scrollIntoView()`)
		b.Shot(fmt.Sprintf("phone-%d-open", width))
		if wide := Run[[]string](b, `return [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 &&
			!e.closest('.track, .skip, noscript')).map((e) => e.tagName + '.' + e.className)`); len(wide) > 0 {
			t.Errorf("%d wide: out of the screen are %v", width, wide)
		}
		same(t, "sideways scrolling", Run[int](b, `return document.documentElement.scrollWidth`), width)
		if small := Run[[]string](b, `return [...document.querySelectorAll('button, select, input')].filter((e) => e.offsetHeight && e.offsetHeight < 40)
			.map((e) => e.className + ' ' + e.offsetHeight)`); len(small) > 0 {
			t.Errorf("%d wide: too small for a thumb: %v", width, small)
		}
	}
	b.quiet(t)
}

// TestThousand: a thousand devices are there at once. How long that takes is compared with a hundred in the same browser;
// what it is made of is counted.
func TestThousand(t *testing.T) {
	b := Open(t)
	b.Go(page(t, many(t, 10))) // warms the browser up
	ready := func(n int) float64 {
		address := page(t, many(t, n))
		best := 1e9
		for range 3 {
			b.Go(address)
			best = min(best, Run[float64](b, `return performance.getEntriesByName('interactive')[0].startTime`))
		}
		same(t, "rows", Run[int](b, `return document.querySelectorAll('.device').length`), n)
		return best
	}
	small, large := ready(100), ready(1000)
	nodes := Run[int](b, `return document.querySelectorAll('body *').length`)
	t.Logf("interactive after %.0f ms with 100 devices, %.0f ms with 1000; %d elements", small, large, nodes)
	if large > 25*small { // linear is 10, quadratic 100; between them is what a busy machine does
		t.Errorf("interactive after %.0f ms with 1000 devices, %.0f ms with 100: more than linear", large, small)
	}
	if nodes > 12_000 {
		t.Errorf("%d elements for 1000 devices, want few: a phone has to make them", nodes)
	}
	b.Shot("thousand")
	took := Run[float64](b, `const box = document.getElementById('search'); let best = 1e9;
		for (let i = 0; i < 3; i++) for (const text of ['', 'kiosk-33']) {
			const from = performance.now(); box.value = text; box.dispatchEvent(new Event('input')); document.body.offsetHeight;
			if (text) best = Math.min(best, performance.now() - from);
		}
		return best`)
	t.Logf("a search through 1000 devices takes %.0f ms with its layout", took)
	same(t, "found", b.shown()[0], Run[string](b, `return [...document.querySelectorAll('.device:not([hidden]) b')][0].textContent`))
	if took > 10*large {
		t.Errorf("a search takes %.0f ms, loading the page %.0f ms", took, large)
	}
	b.quiet(t)
}

// hostile is what a device, an inventory or a man in the middle could bring.
const hostile = `</script><script>window.owned=1</script><img src=x onerror="window.owned=2">'"&<!--<script>${window.owned=3}`

func TestHostile(t *testing.T) {
	dir := t.TempDir()
	for i, fate := range schema.Fates() {
		d := fleet.Device(i, fate, rand.New(rand.NewPCG(1, 1)))
		d.Host, d.Address, d.Groups, d.Reason, d.DeviceID = fmt.Sprint(i, hostile), hostile, []string{hostile}, hostile, hostile
		d.Facts.OS, d.Facts.DeviceType, d.Facts.Disk, d.Facts.ImageVersion = hostile, hostile, hostile, hostile
		for j := range d.Last().Steps {
			s := &d.Last().Steps[j]
			s.Warnings = []string{hostile}
			s.Blocked = append(s.Blocked, schema.Blocked{Check: hostile, Got: hostile, Want: hostile, Remedy: "javascript:alert(1)" + hostile})
			s.Name = s.Name + hostile
		}
		data, err := schema.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", i)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, `<img src=x onerror=window.owned=4>.json`), []byte(hostile), 0o600); err != nil {
		t.Fatal(err)
	}
	b := Open(t)
	b.Go(page(t, dir))
	Run[any](b, `document.querySelectorAll('.row').forEach((r) => r.click()); document.querySelectorAll('details').forEach((d) => { d.open = true; })`)
	b.Shot("hostile")
	same(t, "foreign code", Run[any](b, `return window.owned ?? 'none'`), "none")
	same(t, "scripts, images, links", Run[[]int](b, `return ['script', 'img', 'a'].map((t) => document.querySelectorAll(t).length)`), "[2 0 1]")
	same(t, "rows", len(b.shown()), len(schema.Fates()))
	if text := b.Text(".device .who b"); !strings.Contains(text, "<script>window.owned=1</script>") {
		t.Errorf("the name is shown as %q, want it as it is", text)
	}
	b.quiet(t)
	// The policy holds even against what would get through.
	Run[any](b, `window.refused = []; document.addEventListener('securitypolicyviolation', (e) => window.refused.push(e.effectiveDirective));
		const s = document.createElement('script'); s.textContent = 'window.owned = 5'; document.body.append(s);
		const i = document.createElement('div'); i.innerHTML = '<img src="https://example.invalid/x.png" onerror="window.owned=6"><style>*{color:red}</style>';
		document.body.append(i); fetch('https://example.invalid/').catch(() => {});
		const f = document.createElement('iframe'); f.src = 'https://example.invalid/'; document.body.append(f)`)
	var refused []string
	for range 50 {
		if refused = Run[[]string](b, `return [...new Set(window.refused)].sort()`); len(refused) == 6 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	same(t, "refused", refused, "[connect-src frame-src img-src script-src-attr script-src-elem style-src-elem]")
	same(t, "code in spite of the policy", Run[any](b, `return window.owned ?? 'none'`), "none")
}

// TestWithoutScript: where scripts are switched off, as in many mail programs, the table is there.
func TestWithoutScript(t *testing.T) {
	b := Open(t)
	b.devtools("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	b.Go(page(t, many(t, 30)))
	if text := b.Text("noscript table"); strings.Count(text, "\n") != 30 || !strings.Contains(text, "gateway-1 ") {
		t.Errorf("without scripts the page has:\n%s", text)
	}
}
