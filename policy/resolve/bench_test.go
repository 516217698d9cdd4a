package resolve

import (
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// decoded returns the changes from nothing to the files.
func decoded(files []manifest.File) []policy.RevisionChange {
	changes := make([]policy.RevisionChange, len(files))
	for i, d := range manifest.DecodeAll(files) {
		changes[i] = policy.RevisionChange{Name: files[i].Name, After: &policy.Revision{Name: files[i].Name, Objects: d.Objects}}
	}
	return changes
}

// BenchmarkUpdate is one VM that changes: a remote one, then a local one.
func BenchmarkUpdate(b *testing.B) {
	for _, which := range []struct {
		name string
		vm   int
	}{{"remote", 4}, {"local", 1}} {
		b.Run(which.name, func(b *testing.B) {
			policytest.Sizes(b, func(b *testing.B, n int) {
				files, vifs := policytest.Fleet(n)
				all := decoded(files)
				r := New(policy.Options{})
				r.Update(all, vifs)
				f := policytest.VMFile(which.vm, 1)
				f.Data = append(f.Data, "      - name: g150\n"...)
				there := decoded([]manifest.File{f})
				there[0].Before = all[1+which.vm].After
				turn := [][]policy.RevisionChange{there, policy.Invert(there)}
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					if c := r.Update(turn[i%2], vifs); len(c.Members) != 1 || (len(c.Endpoints) > 0) != (which.name == "local") {
						b.Fatal(c)
					}
					i++
				}
			})
		})
	}
}

// BenchmarkOnce is 100,000 VMs, from their objects to the model.
func BenchmarkOnce(b *testing.B) {
	files, vifs := policytest.Fleet(100_000)
	all := decoded(files)
	b.Run("update", func(b *testing.B) {
		for b.Loop() {
			New(policy.Options{}).Update(all, vifs)
		}
	})
	b.Run("model", func(b *testing.B) {
		r := New(policy.Options{})
		r.Update(all, vifs)
		for b.Loop() {
			r.Model()
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	files, vifs := policytest.Fleet(5_000)
	var objects []policy.Objects
	for _, d := range manifest.DecodeAll(files) {
		objects = append(objects, d.Objects)
	}
	p, _ := policy.New(objects, policy.Options{})
	m := once(p, vifs)
	c := connection(policy.Party{OFPort: 1, Addr: m.Endpoints[0].Addrs[0]}, policy.Party{OFPort: 2, Addr: m.Endpoints[1].Addrs[0]}, ipTCP, 22)
	for b.Loop() {
		policy.Evaluate(p, vifs, c)
	}
}
