package scale

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is the most that was seen of a run. Memory is in bytes; what processes share counts once (Pss, proc(5)).
type usage struct {
	ansible int64 // ansible-playbook with its workers and their ssh
	parent  int64 // its first process alone, resident
	masters int64 // ssh's lasting connections
	count   int   // how many of these there were
	// spin is the processor time of the first process alone. It hands out the work, and where all workers are busy it asks them
	// every tenth of a millisecond whether they still are.
	spin time.Duration
}

// watchUsage looks every second until the function it returns is called.
func watchUsage(pid int, sockets string) func() usage {
	stop, done := make(chan bool), make(chan usage)
	go func() {
		var most usage
		for {
			select {
			case <-stop:
				done <- most
				return
			case <-time.After(time.Second):
				now := look(pid, sockets)
				most = usage{
					ansible: max(most.ansible, now.ansible), parent: max(most.parent, now.parent),
					masters: max(most.masters, now.masters), count: max(most.count, now.count),
					spin: max(most.spin, now.spin),
				}
			}
		}
	}()
	return func() usage { close(stop); return <-done }
}

func look(pid int, sockets string) usage {
	now := usage{parent: field(pid, "status", "VmRSS:"), spin: processor(pid)}
	for _, p := range family(pid) {
		now.ansible += field(p, "smaps_rollup", "Pss:")
	}
	all := masters(sockets)
	now.count = len(all)
	// They are all alike, and a thousand would take a while to look at.
	for _, p := range all[:min(len(all), 20)] {
		now.masters += field(p, "smaps_rollup", "Pss:")
	}
	if len(all) > 20 {
		now.masters = now.masters / 20 * int64(len(all))
	}
	return now
}

// family is a process with all that descend from it.
func family(pid int) []int {
	out := []int{pid}
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children") // a process may end meanwhile
	for _, list := range lists {
		data, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(data)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(out, family(child)...)
			}
		}
	}
	return out
}

// masters are the processes that call themselves "ssh: SOCKETS/… [mux]".
func masters(sockets string) []int {
	var out []int
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		data, _ := os.ReadFile(line)
		if bytes.HasPrefix(data, []byte("ssh: "+sockets+"/")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(line)))
			out = append(out, pid)
		}
	}
	return out
}

// field is a size of a file in /proc, in bytes; 0 of a process that ended.
func field(pid int, file, name string) int64 {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// processor is what a process has used of the processors by itself: utime and stime, in ticks of a hundredth of a second.
func processor(pid int) time.Duration {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := bytes.Cut(data, []byte(") "))
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / 100
}
