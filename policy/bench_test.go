package policy

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// cloud is a policy of 5,000 VMs in 50 subnets and 200 groups, and the ports
// of a host with 200 of the VMs.
func cloud() (File, []VIF) {
	var b strings.Builder
	var vifs []VIF
	for i := range 50 {
		b.WriteString(subnet("default", fmt.Sprintf("s%d", i), fmt.Sprintf("10.%d.0.0/16", i), "", ""))
	}
	for i := range 200 {
		b.WriteString(sg("default", fmt.Sprintf("g%d", i),
			fmt.Sprintf("direction: Ingress, protocol: TCP, port: %d, remote: {securityGroupRef: {name: g%d}}", 1000+i, (i+1)%200),
			"direction: Ingress, protocol: TCP, port: 22, remote: {address: {IPAddressOrCIDR: 10.0.0.0/8}}", "direction: Egress"))
	}
	for i := range 5000 {
		name := fmt.Sprintf("vm%d", i)
		b.WriteString(vm("default", name, fmt.Sprintf("10.%d.%d.%d", i%50, i/50/200, i/50%200+1), "", fmt.Sprintf("g%d, g%d", i%200, (i*7+1)%200)))
		if i%25 == 0 {
			vifs = append(vifs, VIF{Name: "tap-" + name, OFPort: uint16(i/25 + 1), IfaceID: name})
		}
	}
	return File{Name: "cloud.yaml", Data: []byte(b.String())}, vifs
}

func BenchmarkDecode(b *testing.B) {
	f, _ := cloud()
	b.SetBytes(int64(len(f.Data)))
	for b.Loop() {
		if _, errs := Decode(f); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	f, _ := cloud()
	o, _ := Decode(f)
	for b.Loop() {
		New([]Objects{o}, Options{})
	}
}

func BenchmarkResolve(b *testing.B) {
	f, vifs := cloud()
	o, _ := Decode(f)
	p, _ := New([]Objects{o}, Options{})
	for b.Loop() {
		if m := p.Resolve(vifs); len(m.Members) != 5000 || len(m.Endpoints) != 200 {
			b.Fatal(len(m.Members), len(m.Endpoints))
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	f, vifs := cloud()
	o, _ := Decode(f)
	p, _ := New([]Objects{o}, Options{})
	c := Connection{Party{1, p.Resolve(vifs).Endpoints[0].Addrs[0]}, Party{2, p.Resolve(vifs).Endpoints[1].Addrs[0]}, ipTCP, 22}
	for b.Loop() {
		if !Evaluate(p, vifs, c).Allowed {
			b.Fatal(Evaluate(p, vifs, c))
		}
	}
}

// vmFile is the manifest of one of many VMs, with all a manifest usually has.
func vmFile(i, version int) File {
	name := fmt.Sprintf("vm-%06d", i)
	return File{Name: name + ".yaml", Data: fmt.Appendf(nil, `apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata:
  name: %s
  namespace: shop
  uid: 5f0c1a2b-0000-4000-8000-%012d
  labels: {version: "%d"}
spec:
  networking:
    interfaces:
    - id: %s
      macAddress: 02:00:%02x:%02x:%02x:01
      ipAddresses: [10.%d.%d.%d]
      subnetRef: {name: s%d}
    securityGroups:
      securityGroupMemberships:
      - name: g%d
      - name: g%d
`, name, i, version, name, byte(i>>16), byte(i>>8), byte(i), i/62500, i/250%250, i%250+1, i/62500, i%200, (i*7+1)%200)}
}

// fleet is the changes that bring n VMs in a file each, and the ports of 200 of
// them.
func fleet(n int) ([]FileChange, []VIF) {
	var text []byte
	for i := range 4 {
		text = append(text, subnet("shop", fmt.Sprintf("s%d", i), fmt.Sprintf("10.%d.0.0/16", i), "", "")...)
	}
	for i := range 200 {
		text = append(text, sg("shop", fmt.Sprintf("g%d", i),
			fmt.Sprintf("direction: Ingress, protocol: TCP, port: %d, remote: {securityGroupRef: {name: g%d}}", 1000+i, (i+1)%200), "direction: Egress")...)
	}
	changes := []FileChange{{File: File{Name: "groups.yaml", Data: text}}}
	var vifs []VIF
	for i := range n {
		changes = append(changes, FileChange{File: vmFile(i, 0)})
		if len(vifs) < 200 && i%(max(n, 400)/200) == 1 {
			vifs = append(vifs, VIF{Name: fmt.Sprintf("tap%d", i), OFPort: uint16(len(vifs) + 1), IfaceID: fmt.Sprintf("vm-%06d", i)})
		}
	}
	return changes, vifs
}

func sizes(b *testing.B, f func(b *testing.B, n int)) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { f(b, n) })
	}
}

func BenchmarkDecodeVM(b *testing.B) {
	b.ReportAllocs()
	f := vmFile(7, 0)
	for b.Loop() {
		if _, errs := Decode(f); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

// BenchmarkLedgerUpdate is one VM that changes, in two versions by turns.
func BenchmarkLedgerUpdate(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		changes, _ := fleet(n)
		var l Ledger
		l.Update(changes)
		turn := [][]FileChange{{{File: vmFile(4, 1)}}, {{File: vmFile(4, 0)}}}
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			if c := l.Update(turn[i%2]); len(c.Versions) != 1 || len(c.Status) > 0 {
				b.Fatal(c)
			}
			i++
		}
	})
}

// BenchmarkLedgerGone is the same without the decoding: a file comes and goes.
func BenchmarkLedgerGone(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		changes, _ := fleet(n)
		var l Ledger
		l.Update(changes)
		turn := [][]FileChange{{{File: File{Name: "e.yaml"}}}, {{File: File{Name: "e.yaml"}, Gone: true}}}
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			l.Update(turn[i%2])
			i++
		}
	})
}

// BenchmarkBookUpdate is one VM that changes: a remote one, then a local one.
func BenchmarkBookUpdate(b *testing.B) {
	for _, which := range []struct {
		name string
		vm   int
	}{{"remote", 4}, {"local", 1}} {
		b.Run(which.name, func(b *testing.B) {
			sizes(b, func(b *testing.B, n int) {
				changes, vifs := fleet(n)
				var l Ledger
				book := NewBook(Options{})
				book.Update(l.Update(changes).Versions, vifs)
				f := vmFile(which.vm, 1)
				f.Data = append(f.Data, "      - name: g150\n"...)
				there := l.Update([]FileChange{{File: f}}).Versions
				turn := [][]RevisionChange{there, Invert(there)}
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					if c := book.Update(turn[i%2], vifs); len(c.Members) != 1 || (len(c.Endpoints) > 0) != (which.name == "local") {
						b.Fatal(c)
					}
					i++
				}
			})
		})
	}
}

// BenchmarkBuild is everything from the files; it reports what is live of it
// per VM, and what decoding it takes at the peak is not in that.
func BenchmarkBuild(b *testing.B) {
	const n = 100_000
	changes, vifs := fleet(n)
	b.Run("ledger", func(b *testing.B) {
		for b.Loop() {
			new(Ledger).Update(changes)
		}
	})
	b.Run("book", func(b *testing.B) {
		versions := new(Ledger).Update(changes).Versions
		for b.Loop() {
			NewBook(Options{}).Update(versions, vifs)
		}
	})
	b.Run("model", func(b *testing.B) {
		book := NewBook(Options{})
		book.Update(new(Ledger).Update(changes).Versions, vifs)
		for b.Loop() {
			book.Model()
		}
	})
	changes = nil
	b.Run("live", func(b *testing.B) {
		for b.Loop() {
			before := live()
			var l Ledger
			names := live() - before
			changes, _ := fleet(n)
			versions := l.Update(changes).Versions
			for i := range changes {
				changes[i].File.Data = nil
			}
			changes = nil
			for i := range versions {
				versions[i].Data = nil
			}
			ledger := live() - before - names
			book := NewBook(Options{})
			book.Update(versions, vifs)
			versions = nil
			both := live() - before
			b.ReportMetric(float64(ledger)/n, "ledger-bytes/VM")
			b.ReportMetric(float64(both)/n, "bytes/VM")
			runtime.KeepAlive(&l)
			runtime.KeepAlive(book)
		}
	})
}

func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
