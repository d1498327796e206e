// Package lab is the virtual machine lab: it builds a Debian guest with GRUB and an image in the
// form of balenaOS, starts them in QEMU and looks at them over ssh, by their console and by their
// disk. It needs root on Debian 12 and what build/install.sh installs.
//
// Build makes the artefacts, or finds them made ($BALENA_LAB_DIR, by default
// ~/.cache/balena-migrate-lab; minutes the first time, then a tenth of a second). Start switches a
// machine on:
//
//	art, err := lab.Build(ctx, os.Stderr, lab.Bookworm)
//	vm, err := art.Start(ctx, lab.Options{Dir: t.TempDir(), Disk: art.Disks[lab.Bookworm]})
//	defer vm.Kill()
//	err = vm.WaitSSH(ctx, lab.BootTimeout)
//	out, err := vm.Run(ctx, "uname -r")         // an exit code other than 0 is an error
//	res, err := vm.SSH(ctx, "grub-editenv - list") // stdout, stderr and exit code; vm.SSHAs for pi
//	err = vm.Put(ctx, "bin/balena-migrate", "/usr/local/bin/balena-migrate")
//
// For Ansible: host 127.0.0.1, port vm.Port, key art.Key, user root or pi (sudo without password).
//
// The console is one growing file; offsets into it tell one boot from the other:
//
//	from := vm.ConsoleSize()
//	id, err := vm.BootID(ctx)
//	…something reboots the machine…
//	match, err := vm.WaitConsole(ctx, regexp.MustCompile(`point of no return`), from, time.Minute)
//	err = vm.WaitNewBoot(ctx, id, lab.BootTimeout) // the old system is back
//	found, err := vm.WaitNewOS(ctx, from, lab.BootTimeout) // or the new one is there
//
// The new system switches the machine off after its report; WaitExit waits for that. RawDisk then
// gives the disk as a file to read. A machine is its Dir: Start with the same Dir switches the same
// machine on again, with its disk as it was left, perhaps with other memory or another disk serial.
//
// Every wait is bounded by its timeout and by ctx; its error (a *WaitError) carries the end of the
// console. What the guest has to be found by the migration is in Networks, Secrets and DataDirs.
package lab
