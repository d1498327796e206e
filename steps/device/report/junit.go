package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
)

// The JUnit XML that GitLab, Jenkins and GitHub's actions read: a suite per device, a case per step.
type (
	junitAll struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr,omitempty"`
		Host      string      `xml:"hostname,attr,omitempty"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
		Skipped *junitProblem `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",cdata"`
	}
)

// JUnit writes the report for continuous integration. What blocks or fails is a failure with its remedy; what could not be
// reached or was not finished is an error. Damaged files are a suite of their own.
func JUnit(w io.Writer, fleet *schema.FleetReport) error {
	all := junitAll{Name: "balena-migrate"}
	for i := range fleet.Devices {
		all.add(suite(&fleet.Devices[i]))
	}
	if len(fleet.Damaged) > 0 {
		s := junitSuite{Name: "damaged files"}
		for _, d := range fleet.Damaged {
			s.Cases = append(s.Cases, junitCase{Class: s.Name, Name: d.File, Error: &junitProblem{Message: d.Reason, Type: "damaged"}})
		}
		all.add(s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// add counts a suite's cases.
func (all *junitAll) add(s junitSuite) {
	for i := range s.Cases {
		c := &s.Cases[i]
		if c.Time == "" {
			c.Time = "0.000"
		}
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	if s.Time == "" {
		s.Time = "0.000"
	}
	all.Tests, all.Failures, all.Errors = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors
	all.Suites = append(all.Suites, s)
}

// suite is a device. Its last case is its fate, so that one without a finished step does not pass for well.
func suite(d *schema.DeviceReport) junitSuite {
	last := d.Last()
	s := junitSuite{Name: d.Host, Host: d.Address, Timestamp: strings.TrimSuffix(last.Started, "Z"), Time: clock(seconds(last))}
	told := false
	for i := range last.Steps {
		c := testCase(d.Host, &last.Steps[i])
		told = told || c.Failure != nil || c.Error != nil
		s.Cases = append(s.Cases, c)
	}
	end := junitCase{Class: d.Host, Name: "fate", Output: strings.TrimSuffix(string(d.Fate)+": "+d.Reason, ": ")}
	switch {
	case told:
	case d.Fate.Trouble():
		end.Failure = &junitProblem{Message: d.Reason, Type: string(d.Fate)}
	case d.Fate == schema.FatePending:
		end.Error = &junitProblem{Message: d.Reason, Type: string(d.Fate)}
	}
	s.Cases = append(s.Cases, end)
	return s
}

func testCase(host string, s *schema.StepReport) junitCase {
	c := junitCase{Class: host, Name: s.Name, Time: clock(s.Seconds), Output: strings.Join(s.Warnings, "\n")}
	switch s.Status {
	case schema.BlockedBy:
		c.Failure = blockers(s.Blocked)
	case schema.Failed:
		c.Failure = problem(s, "failed")
	case schema.StepUnreachable:
		c.Error = problem(s, "unreachable")
	case schema.StepRunning, schema.StepInterrupted:
		c.Error = &junitProblem{Message: "not finished, begun at " + s.Started, Type: s.Status}
	case schema.StepSkipped:
		c.Skipped = &junitProblem{Message: strings.Join(s.Warnings, "; ")}
		c.Output = ""
	}
	return c
}

func blockers(list []schema.Blocked) *junitProblem {
	p := &junitProblem{Message: "blocked", Type: "blocked"}
	names := make([]string, len(list))
	for i, b := range list {
		names[i] = b.Check
		p.Text += fmt.Sprintf("%s\n  found:    %s\n  expected: %s\n  remedy:   %s\n", Clean(b.Check), Clean(b.Got), Clean(b.Want), Clean(b.Remedy))
	}
	if len(names) > 0 {
		p.Message = "blocked by " + strings.Join(names, ", ")
	}
	return p
}

func problem(s *schema.StepReport, kind string) *junitProblem {
	p := &junitProblem{Message: kind, Type: kind}
	if s.Error == nil {
		return p
	}
	p.Message = s.Error.Message
	p.Text = Clean(s.Error.Message) + "\n" // a CDATA section is not escaped
	if s.Error.Hint != "" {
		p.Text += "  remedy:   " + Clean(s.Error.Hint) + "\n"
	}
	return p
}

func clock(s float64) string { return fmt.Sprintf("%.3f", s) }
