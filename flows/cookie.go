package flows

import "fmt"

// Cookie says that a flow is ours and what it is about:
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
	layout             = 2
)

// Kind is what a flow is about.
type Kind uint8

// The kinds, with the object of each.
const (
	KindPipeline Kind = iota // the fixed frame; 0, or the highest epoch ever, see Input.Mark
	KindInfra                // an infrastructure port; ofport
	KindPort                 // a VM port; ofport
	KindEpoch                // a class's epoch; fingerprint of its rules
	KindNetwork              // a VLAN; its number
	KindMember               // an address of a member; hash of the VM's name
	KindClause               // a clause that rules share; 0
	KindRule                 // a rule; hash of its group and name
)

const objectMask = 1<<40 - 1

func newCookie(k Kind, object uint64) Cookie {
	return CookieOwner | layout<<48 | Cookie(k)<<40 | Cookie(object&objectMask)
}

// Ours says whether the flow is one of ours, of any layout.
func (c Cookie) Ours() bool { return c&CookieMask == CookieOwner }

// Kind is what the flow is about.
func (c Cookie) Kind() Kind { return Kind(c >> 40) }

// Object is the kind's object.
func (c Cookie) Object() uint64 { return uint64(c) & objectMask }

// String is the text of ovs-ofctl.
func (c Cookie) String() string { return fmt.Sprintf("0x%x", uint64(c)) }
