package policy

import (
	"fmt"
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
