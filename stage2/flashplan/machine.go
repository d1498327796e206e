package flashplan

const (
	// kernelShare is what of MemTotal (proc_meminfo(5)) is not available any more when stage 2 starts with nothing else
	// in memory: the kernel's own, in bytes. Measured with Debian 12 on 256 MB: 206 MB, of which 152 are left beside an
	// archive of 14.
	kernelShare = 40 << 20
	// initrdGrowth is how much larger a host's initramfs is unpacked: measured on Debian 12, 30 MB become 126 MB.
	initrdGrowth = 4.5
)

// Machine is what a machine must have as MemTotal for stage 2 to run, in bytes: need is what it holds, its archive
// unpacked included, keep what has to stay free, and initrd the size of the host's initramfs as it lies, 0 without.
func Machine(need, keep, initrd int64) int64 {
	return kernelShare + need + keep + int64(initrdGrowth*float64(initrd))
}

// Alone says whether stage 2 is to be started without the host's initramfs, whose files take more memory than the rest
// of stage 2: only when memory is short, for with it goes /init, a way back that needs no boot loader. Then coming back
// is a reboot, and our archive has all modules on the way to the disk.
func Alone(total, need, keep, initrd int64) bool {
	return initrd == 0 || total < Machine(need, keep, initrd)
}

// Kexec is what a machine must have as MemTotal where stage 2 is started by kexec with an archive of so many bytes, unpacked:
// as [Machine], and that the archive is in memory twice while the kernel unpacks it, as a whole and as files. The kernel
// itself refuses an archive above half of the memory (kernel/kexec_core.c, sanity_check_segment_list), which is the same.
func Kexec(need, keep, archive int64) int64 {
	return max(Machine(need, keep, 0), kernelShare+2*archive)
}

// Loading is what must be available while an archive of so many bytes is loaded for kexec: the kernel reads it whole, then
// copies it to where it will be found (kernel/kexec_file.c).
func Loading(archive int64) int64 { return 2*archive + 32<<20 }
