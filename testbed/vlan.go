package testbed

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addVLAN gives the host a tap device e0.<id> and moves frames between it and
// the tagged side of e0. It does without the kernel's 8021q, which not every
// kernel has.
func (h *Host) addVLAN(vid int) error {
	name := fmt.Sprintf("e0.%d", vid)
	tap, err := h.openTap(name)
	if err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	if err := h.keep(tap); err != nil {
		return err
	}
	const tagOffset = 12
	tag := be.AppendUint16(be.AppendUint16(nil, EtherTypeVLAN), uint16(vid))
	in, err := h.Capture(func(f []byte) bool {
		if len(f) >= 18 && be.Uint16(f[tagOffset:]) == EtherTypeVLAN && int(be.Uint16(f[tagOffset+2:])&0xfff) == vid {
			_, _ = tap.Write(append(f[:tagOffset:tagOffset], f[tagOffset+4:]...)) // lost like any frame
		}
		return false // nothing to keep
	})
	if err != nil {
		return err
	}
	fd, index, err := h.packetSocket(0)
	if err != nil {
		_ = in.Close()
		return fmt.Errorf("make %s: %w", name, err)
	}
	go func() {
		defer unix.Close(fd)
		buf := make([]byte, 65536)
		for {
			// The first half of the addresses, a gap for the tag, the rest.
			n, err := tap.Read(buf[4:])
			if err != nil {
				return
			}
			copy(buf, buf[4:4+tagOffset])
			copy(buf[tagOffset:], tag)
			_ = unix.Sendto(fd, buf[:n+4], 0, &unix.SockaddrLinklayer{Ifindex: index}) // lost like any frame
		}
	}()
	return nil
}

// openTap makes a tap device with the host's MAC. It vanishes when it is closed.
func (h *Host) openTap(name string) (*os.File, error) {
	var file *os.File
	err := h.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req := struct {
			name  [unix.IFNAMSIZ]byte
			flags uint16
			_     [22]byte
		}{flags: unix.IFF_TAP | unix.IFF_NO_PI}
		copy(req.name[:unix.IFNAMSIZ-1], name)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
			_ = unix.Close(fd)
			return errno
		}
		// The file is made only now, because a tap can be polled once it is
		// attached.
		file = os.NewFile(uintptr(fd), name)
		return ipBatch(fmt.Sprintf("link set %s address %s up", name, h.MAC))
	})
	if err != nil && file != nil {
		_ = file.Close()
	}
	return file, err
}
