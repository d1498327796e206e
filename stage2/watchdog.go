package stage2

import "time"

// feedWatchdog keeps an open hardware watchdog from ending the migration, and lets it end one that hangs as a whole: it
// fires when PID 1 is no longer scheduled (Documentation/watchdog/watchdog-api.rst).
func (m *machine) feedWatchdog() {
	dog, err := m.OpenDevice("/dev/watchdog")
	if err != nil {
		return // most machines have none
	}
	m.log.printf("feeding the hardware watchdog")
	go func() {
		for {
			if _, err := dog.Write([]byte{0}); err != nil {
				m.log.printf("watchdog: %v", err)
				return
			}
			time.Sleep(5 * time.Second)
		}
	}()
}
