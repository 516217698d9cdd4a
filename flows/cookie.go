package flows

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Cookie says that a flow is the agent's and what the flow is about:
//
//	bits 63-52  0x5e6
//	bits 51-48  layout of the pipeline
//	bits 47-40  kind
//	bits 39-0   object: see the kinds
type Cookie uint64

// CookieOwner and CookieMask select our flows of any layout.
const (
	CookieOwner Cookie = 0x5e6 << 52
	CookieMask  Cookie = 0xfff << 52
	// Layout is the number of the pipeline's layout. It must be raised whenever an
	// agent would misread flows that the agent before it has left: when tables,
	// registers, zones or cookies change, or the flows that tell epochs, owners and
	// members. TestLayout of package compile watches over that.
	Layout = 2
)

// Kind is what a flow is about.
type Kind uint8

// The kinds, with the object of each.
const (
	KindPipeline Kind = iota // the fixed frame; 0, or the highest epoch that was ever given out
	KindInfra                // an infrastructure port; ofport
	KindPort                 // a VM port; ofport
	KindEpoch                // a class's epoch; fingerprint of its rules
	KindNetwork              // a VLAN; its number
	KindMember               // an address of a member; hash of the VM's name
	KindClause               // a clause that rules share; 0
	KindRule                 // a rule; hash of its group and name
)

// ObjectMask has the bits of a cookie that hold the object.
const ObjectMask = 1<<40 - 1

// NewCookie makes the cookie of a flow of the present layout. Of the object, the
// low 40 bits count.
func NewCookie(k Kind, object uint64) Cookie {
	return CookieOwner | Layout<<48 | Cookie(k)<<40 | Cookie(object&ObjectMask)
}

// Ours reports whether the flow is ours, of any layout.
func (c Cookie) Ours() bool { return c&CookieMask == CookieOwner }

// Layout returns the layout of the pipeline that the flow was made for, see
// [Layout].
func (c Cookie) Layout() uint8 { return uint8(c>>48) & 0xf }

// Kind returns what the flow is about.
func (c Cookie) Kind() Kind { return Kind(c >> 40) }

// Object returns the object, see the kinds.
func (c Cookie) Object() uint64 { return uint64(c) & ObjectMask }

// String returns the text of ovs-ofctl.
func (c Cookie) String() string { return fmt.Sprintf("0x%x", uint64(c)) }

// OtherLayout reports whether some of our flows were made for another layout of the
// pipeline, so that their epochs mean nothing here.
func OtherLayout(s *Set) bool {
	for f := range s.All() {
		if f.Cookie.Layout() != Layout {
			return true
		}
	}
	return false
}

// Hash returns the hash that cookies and numbers are made of: the same on every
// machine and in every release.
func Hash(s string) uint64 {
	h := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(h[:])
}
