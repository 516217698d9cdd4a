package testbed

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions here act on the network namespace of the calling thread.

// sysctl writes a setting below net/.
func sysctl(name, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0)
}

// ipBatch runs lines of ip(8) commands in one process.
func ipBatch(lines ...string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ip -batch (%s): %w: %s", strings.Join(lines, "; "), err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// ethtoolSTXCSUM is ETHTOOL_STXCSUM: set transmit checksum offload.
const ethtoolSTXCSUM = 0x17

// checksumInSoftware turns transmit checksum offload off. A veth pair would
// pass on frames without a checksum, and userspace connection tracking checks
// it.
func checksumInSoftware(dev string) error {
	value := struct{ cmd, data uint32 }{ethtoolSTXCSUM, 0}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], dev)
	return linkIoctl(unix.SIOCETHTOOL, unsafe.Pointer(&req), "turn off checksum offload of "+dev)
}

// linkUp sets a device up.
func linkUp(dev string) error {
	req := struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{}
	copy(req.name[:unix.IFNAMSIZ-1], dev)
	if err := linkIoctl(unix.SIOCGIFFLAGS, unsafe.Pointer(&req), "read flags of "+dev); err != nil {
		return err
	}
	req.flags |= unix.IFF_UP
	return linkIoctl(unix.SIOCSIFFLAGS, unsafe.Pointer(&req), "set up "+dev)
}

func linkIoctl(request uintptr, arg unsafe.Pointer, what string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}
