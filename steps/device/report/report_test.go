package report

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/testdata/fleet"
)

var update = flag.Bool("update", false, "write the golden files")

const golden = "../../../testdata/golden/report"

// now is the time of the golden reports.
var now = fleet.Began.Add(2 * time.Hour)

// small is the fleet of the golden files: one device per fate, and a file that is damaged.
func small(t testing.TB) *schema.FleetReport {
	t.Helper()
	dir, err := filepath.Abs(golden)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read(host.At("/"), filepath.Join(dir, "in"), now)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Every format of the same directory, byte for byte.
func TestGolden(t *testing.T) {
	f := small(t)
	for name, render := range map[string]func(io.Writer) error{
		"table.txt": func(w io.Writer) error { return Table(w, f, false) },
		"fleet.json": func(w io.Writer) error {
			data, err := schema.Encode(f)
			if err == nil {
				_, err = w.Write(data)
			}
			return err
		},
		"fleet.csv": func(w io.Writer) error { return CSV(w, f) },
		"migdb.csv": func(w io.Writer) error { return MigDB(w, f) },
		"junit.xml": func(w io.Writer) error { return JUnit(w, f) },
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := render(&got); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(golden, name)
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

func TestJSONIsValid(t *testing.T) {
	f := small(t)
	data, err := schema.Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Decode(data, "report", "fleet-report", &schema.FleetReport{}); err != nil {
		t.Error(err)
	}
	if len(f.Devices) != len(schema.Fates()) || len(f.Damaged) != 2 {
		t.Errorf("%d devices, damaged %v; want one per fate and two files", len(f.Devices), f.Damaged)
	}
}

// A file that is no report is named with its reason and costs nothing else.
func TestDamaged(t *testing.T) {
	for _, d := range small(t).Damaged {
		want := map[string]string{"cut-off.json": "expected one JSON document", "twice.json": "found another report of kiosk-1"}[d.File]
		if want == "" || !strings.Contains(d.Reason, want) {
			t.Errorf("%s: %q, want %q", d.File, d.Reason, want)
		}
	}
}

func TestEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "inventory.yml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(host.At("/"), dir, now); !errors.Is(err, ErrEmpty) {
		t.Errorf("a directory without reports: %v, want ErrEmpty", err)
	}
	if _, err := Read(host.At("/"), filepath.Join(dir, "nowhere"), now); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// No line is wider than a terminal, whatever the texts are, and nothing moves its cursor.
func TestTableFits(t *testing.T) {
	f := small(t)
	for i := range f.Devices {
		d := &f.Devices[i]
		d.Host, d.Reason = strings.Repeat("ü", 60)+d.Host, "\x1b[2J\a"+strings.Repeat("x", 300)+" y\n"+strings.Repeat("word ", 40)
	}
	f.Causes = causes(f.Devices)
	for _, colour := range []bool{false, true} {
		var b strings.Builder
		if err := Table(&b, f, colour); err != nil {
			t.Fatal(err)
		}
		plain := regexp.MustCompile(`\x1b\[[0-9]*m`).ReplaceAllString(b.String(), "")
		if colour == (plain == b.String()) {
			t.Errorf("colour %v: %q", colour, b.String()[:100])
		}
		for line := range strings.Lines(plain) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 || strings.ContainsAny(line, "\x1b\a") {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		if strings.Count(strings.ReplaceAll(plain, "\n", ""), "word") < 40*len(f.Devices) {
			t.Error("words were lost")
		}
	}
}

// Devices with the same cause are one, whatever numbers their messages have; with another they are not.
func TestCauses(t *testing.T) {
	device := func(host string, fate schema.Fate, step schema.StepReport, reason string) schema.DeviceReport {
		return schema.DeviceReport{Host: host, Fate: fate, Reason: reason, Attempts: []schema.Attempt{{Steps: []schema.StepReport{step}}}}
	}
	failed := func(name string) schema.StepReport { return schema.StepReport{Name: name, Status: schema.Failed} }
	got := causes([]schema.DeviceReport{
		device("a", schema.FateFailed, failed("backup"), "read block 17 of 4000"),
		device("b", schema.FateFailed, failed("backup"), "read block 3 of 90"),
		device("c", schema.FateFailed, failed("prepare-image"), "read block 3 of 90"),
		device("d", schema.FateReady, failed("backup"), "read block 3 of 90"),
		device("e", schema.FateFailed, failed("backup"), "mount /dev/sda1"),
		device("f", schema.FateFailed, failed("backup"), "mount /dev/sda2"),
		device("g", schema.FateBlocked, schema.StepReport{Name: "precheck", Status: schema.BlockedBy, Blocked: []schema.Blocked{
			{Check: "memory", Got: "512 MiB", Want: "700 MiB"}, {Check: "disk", Got: "LVM"},
		}}, "memory"),
		device("h", schema.FateBlocked, schema.StepReport{Name: "precheck", Status: schema.BlockedBy, Blocked: []schema.Blocked{
			{Check: "memory", Got: "256 MiB", Want: "700 MiB", Remedy: "add memory"},
		}}, "memory"),
		device("i", schema.FateLost, schema.StepReport{Name: "wait", Status: schema.StepRunning}, "silence"),
	})
	var lines []string
	for _, c := range got {
		lines = append(lines, fmt.Sprintf("%s %s %s", c.Step, strings.Fields(c.Cause)[0], strings.Join(c.Hosts, "")))
	}
	want := "backup read ab|precheck memory: gh|prepare-image read c|backup mount e|backup mount f|precheck disk: g| silence i"
	if strings.Join(lines, "|") != want {
		t.Errorf("%s\nwant %s", strings.Join(lines, "|"), want)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		fates   []schema.Fate
		damaged int
		want    int
	}{
		{[]schema.Fate{schema.FateOnline, schema.FateMigrated, schema.FateReady}, 0, 0},
		{[]schema.Fate{schema.FateOnline, schema.FatePending}, 0, 4},
		{[]schema.Fate{schema.FatePending, schema.FateBlocked}, 0, 3},
		{[]schema.Fate{schema.FateLost}, 0, 3}, {[]schema.Fate{schema.FateBack}, 0, 3}, {[]schema.Fate{schema.FateFailed}, 0, 3},
		{[]schema.Fate{schema.FateOnline}, 1, 3},
	} {
		f := &schema.FleetReport{Damaged: make([]schema.DamagedFile, c.damaged)}
		for _, fate := range c.fates {
			f.Devices = append(f.Devices, schema.DeviceReport{Fate: fate})
			count(&f.Counts, fate)
		}
		if got := Verdict(f); got != c.want {
			t.Errorf("%v, %d damaged: %d, want %d", c.fates, c.damaged, got, c.want)
		}
	}
}

// What a device says is no formula to a spreadsheet.
func TestCSVHasNoFormulas(t *testing.T) {
	f := small(t)
	f.Devices[0].Reason = `=HYPERLINK("https://example.invalid","click")`
	f.Devices[1].Reason = "two\nlines, \"quoted\""
	var b bytes.Buffer
	if err := CSV(&b, f); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&b).ReadAll()
	if err != nil || lines[1][4] != "'"+f.Devices[0].Reason || lines[2][4] != f.Devices[1].Reason {
		t.Errorf("%v: %q, %q", err, lines[1][4], lines[2][4])
	}
}

// JUnit's readers count cases; ours and theirs agree, and texts that XML can't hold do no harm.
func TestJUnitIsWellFormed(t *testing.T) {
	f := small(t)
	f.Devices[0].Host = "a\x00\x1b]]><b>&"
	for i := range f.Devices {
		for j := range f.Devices[i].Last().Steps {
			if e := f.Devices[i].Last().Steps[j].Error; e != nil {
				e.Message, e.Hint = "\x00\x1b]]><b>&\uffff", "\x01]]>"
			}
		}
	}
	var b bytes.Buffer
	if err := JUnit(&b, f); err != nil {
		t.Fatal(err)
	}
	var all junitAll
	if err := xml.Unmarshal(b.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	tests, bad := 0, 0
	for _, s := range all.Suites {
		tests += len(s.Cases)
		for _, c := range s.Cases {
			if c.Failure != nil || c.Error != nil {
				bad++
			}
		}
	}
	if tests != all.Tests || bad != all.Failures+all.Errors || len(all.Suites) != len(f.Devices)+1 {
		t.Errorf("%d cases (%d said), %d bad (%d said), %d suites", tests, all.Tests, bad, all.Failures+all.Errors, len(all.Suites))
	}
}

// A text that a device brings can't end the element it is in.
func TestPayloadCannotLeave(t *testing.T) {
	f := small(t)
	f.Devices[0].Reason = "</script><script>alert(1)</script><!--\u2028"
	data, err := payload(f)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(data, "<") {
		t.Errorf("the data has a <: %s", data)
	}
	var b bytes.Buffer
	if err := HTML(&b, f); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "<script"); n != 2 {
		t.Errorf("%d script elements, want 2", n)
	}
	if !strings.Contains(html.UnescapeString(b.String()), digest(pageJS)) || strings.Contains(b.String(), "ZgotmplZ") {
		t.Error("the policy lacks the script's digest, or the template refused something")
	}
}

func TestNatural(t *testing.T) {
	for _, c := range [][2]string{{"kiosk-9", "kiosk-10"}, {"a", "b"}, {"a1b2", "a1b10"}, {"k", "k1"}, {"a01", "a2"}, {"a01", "a1"}, {"192.0.2.9", "192.0.2.10"}} {
		if natural(c[0], c[1]) >= 0 || natural(c[1], c[0]) <= 0 || natural(c[0], c[0]) != 0 {
			t.Errorf("%q is not before %q", c[0], c[1])
		}
	}
}

// FuzzRead: whatever lies in the directory, every format comes out, and no line of the table is too wide.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob(golden + "/in/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "x.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		fleet, err := Read(host.At("/"), dir, now)
		if err != nil {
			t.Fatal(err)
		}
		if len(fleet.Devices)+len(fleet.Damaged) != 1 {
			t.Fatalf("%d devices and %d damaged files, want one of them", len(fleet.Devices), len(fleet.Damaged))
		}
		for _, err := range []error{
			Table(io.Discard, fleet, true), CSV(io.Discard, fleet), MigDB(io.Discard, fleet), JUnit(io.Discard, fleet), HTML(io.Discard, fleet),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		Verdict(fleet)
	})
}

// BenchmarkHTML is the page of a thousand devices, from the directory to the last byte.
func BenchmarkHTML(b *testing.B) {
	dir := b.TempDir()
	if err := fleet.Write(dir, 1000); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := Read(host.At("/"), dir, now)
		if err != nil {
			b.Fatal(err)
		}
		var page bytes.Buffer
		if err := HTML(&page, f); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(page.Len())/1e6, "MB")
	}
}
