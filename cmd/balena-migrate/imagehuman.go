package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/balena-community/balena-migrate/schema"
)

// imageReport writes a report on an image.
func (o *output) imageReport(r *schema.ImageReport) error {
	if o.json {
		return o.document(r)
	}
	return human{o.out}.imageReport(r)
}

func (h human) imageReport(r *schema.ImageReport) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Msg)
	for _, line := range []struct{ name, value string }{
		{"file", bytesOf(r.FileSize, r.FileSHA256)},
		{"raw", bytesOf(r.RawSize, r.RawSHA256)},
		{"data", dataOf(r.DataSize, r.RawSize)},
		{"device type", strings.TrimSpace(r.DeviceType + " " + r.Arch)},
		{"flasher", flasherText(r.Flasher)},
		{"written", bytesOf(r.OutputSize, r.OutputSHA256)},
		{"table", tableOf(r)},
	} {
		if line.value != "" {
			fmt.Fprintf(&b, "  %-12s %s\n", line.name, line.value)
		}
	}
	if err := partitionTable(&b, r.Partitions); err != nil {
		return err
	}
	if r.Error != nil && r.Error.Hint != "" {
		fmt.Fprintf(&b, "  try: %s\n", r.Error.Hint)
	}
	_, err := io.WriteString(h.w, b.String())
	return err
}

func partitionTable(b *strings.Builder, parts []schema.ImagePartition) error {
	if len(parts) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  #\tstart\tMiB\ttype\tfile system\tlabel\tname\n")
	for _, p := range parts {
		fs := p.FSType
		if p.Extended {
			fs = "(extended)"
		}
		fmt.Fprintf(w, "  %d\t%d\t%.1f\t%s\t%s\t%s\t%s\n", p.Number, p.Start, float64(p.Size)/(1<<20), p.Type, fs, p.Label, p.Name)
	}
	return w.Flush()
}

func bytesOf(n int64, sum string) string {
	switch {
	case n == 0:
		return ""
	case sum == "":
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d bytes, SHA-256 %s", n, sum)
}

func dataOf(data *int64, raw int64) string {
	if data == nil || raw == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes, %d are zeros", *data, raw-*data)
}

func flasherText(flasher bool) string {
	if flasher {
		return "yes: it installs the image inside it"
	}
	return ""
}

func tableOf(r *schema.ImageReport) string {
	if r.Table == "" {
		return ""
	}
	return fmt.Sprintf("%s %s, sectors of %d bytes", r.Table, r.TableID, r.SectorSize)
}
