package compile

import (
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// FullWith and NewWith let the tests of exactness choose the hash.
var (
	FullWith = fullWith
	NewWith  = newWith
)

// StartAt makes a compiler believe that epochs were given out before.
func (c *Compiler) StartAt(epoch uint32) {
	c.epochs.adopt(installed{highest: epoch, persisted: epoch})
}

// State returns what Full needs to know of the epochs.
func (c *Compiler) State() (map[uint16]Class, uint32) {
	return c.epochs.byPort(), c.epochs.persisted
}

// Reference is like Full, with the compiler's hash.
func (c *Compiler) Reference(in Input) (*flows.Set, error) { return fullWith(in, c.hash) }

// Stepwise reports whether the next step can be made by itself.
func (c *Compiler) Stepwise() bool { return c.index != nil }

// InstalledEpochs returns the epochs that are read back from flows, by ofport.
func InstalledEpochs(s *flows.Set) map[uint16]flows.Epochs {
	in := readInstalled(s)
	out := map[uint16]flows.Epochs{}
	for port, number := range in.ports {
		out[port] = in.classes[number].epochs
	}
	return out
}

// Hash returns the compiler's hash.
func (c *Compiler) Hash() func(string) uint64 { return c.hash }

// ContentKey is contentKey.
var ContentKey = contentKey

// SameClass reports whether two ports may be in one class.
func SameClass(a, b *policy.Endpoint) bool { return classIDOf(a) == classIDOf(b) }
