package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The unit has the lines that the agent needs, and systemd-analyze, if it is
// installed, accepts the unit.
func TestUnit(t *testing.T) {
	data, err := os.ReadFile("ovs-sg.service")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, want := range strings.Fields(`Type=notify User=ovs-sg Restart=always WatchdogSec=30s CapabilityBoundingSet= AmbientCapabilities=
		NoNewPrivileges=yes ProtectSystem=strict ProtectHome=yes PrivateTmp=yes PrivateDevices=yes ProtectKernelLogs=yes
		ProtectKernelModules=yes ProtectKernelTunables=yes ProtectControlGroups=yes ProtectClock=yes RestrictNamespaces=yes
		RestrictSUIDSGID=yes MemoryDenyWriteExecute=yes LockPersonality=yes SystemCallFilter=@system-service
		RestrictAddressFamilies=AF_UNIX RuntimeDirectory=ovs-sg StateDirectory=ovs-sg`) {
		if !slices.Contains(strings.Split(text, "\n"), want) {
			t.Errorf("no %s", want)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("systemd-analyze is not there to be asked")
		return
	}
	// The program's path must exist for systemd-analyze, as on a host.
	unit := filepath.Join(t.TempDir(), "ovs-sg.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, "/usr/local/bin/ovs-sg", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", unit).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Skipf("this systemd-analyze does not judge files: %v\n%s", err, out) // before 250
	}
	if level, _ := strconv.ParseFloat(string(m[1]), 64); level > 1.5 {
		t.Errorf("exposure level %v:\n%s", level, out)
	} else {
		t.Logf("exposure level %v", level)
	}
}
