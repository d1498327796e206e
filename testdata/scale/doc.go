// Package scale shows the playbook on a thousand devices, and what it costs the controller.
//
// A fleet is one ssh server on every address of 127/8. Behind each address is a device: a root directory made of a file of
// testdata/roots, in which the real executable runs its real steps as root. Each device has process, mount, IPC and UTS
// namespaces of its own, and no right that reaches beyond its directory (init/main.go); so a step may ask it to reboot, as
// it asks every init, and it then acts its part: it goes away, and is another system, is back with stage 2's word, or
// is never seen again. The server keeps a journal of what every device went through, to which the playbook's reports are
// held.
//
// What it can't do is another processor: uname(2) is the kernel's. So the devices are the x86 ones.
package scale
