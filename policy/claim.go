package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// ClaimID is something that not everybody may have: an object, by its kind and
// key, or what identifies a virtual machine. It is comparable.
type ClaimID struct {
	Kind string // KindGroup and so on, or one of the kinds of claim below
	Key  Key    // of the object; a uid or an interface id is in Name; an address has its Namespace only
	Addr netip.Addr
	MAC  MAC
}

// The kinds of claim other than objects.
const (
	claimUID  = "uid"
	claimID   = "interface id"
	claimMAC  = "MAC"
	claimAddr = "address"
)

// Claim is an object that says that it has something: its own kind and key, and of
// a virtual machine also its uid and the id, the MAC and the addresses of each
// interface. Every Claim has one owner: who had it first keeps it.
type Claim struct {
	ID        ClaimID
	Object    Definition // who claims; with the position of the claim
	Interface int        // its index, if an interface claims
	Subnet    Key        // with a MAC or an address: the subnet that the interface names; zero if none
}

// Claims returns what the objects claim, in the order of Definitions.
func (o *Objects) Claims() []Claim {
	all := make([]Claim, 0, len(o.Groups)+len(o.Subnets)+5*len(o.VirtualMachines))
	for _, d := range o.Definitions() {
		all = append(all, Claim{ID: ClaimID{Kind: d.Kind, Key: d.Key}, Object: d})
	}
	for i := range o.VirtualMachines {
		all = o.VirtualMachines[i].appendClaims(all)
	}
	return all
}

// appendClaims appends to all what vm claims beside its name.
func (vm *VirtualMachine) appendClaims(all []Claim) []Claim {
	if vm.UID != "" {
		all = append(all, Claim{ID: ClaimID{Kind: claimUID, Key: Key{Name: vm.UID}}, Object: vm.definition()})
	}
	for i := range vm.Interfaces {
		n := &vm.Interfaces[i]
		d := vm.definition()
		if n.At.Line > 0 {
			d.Pos = n.At.In(vm.Pos.File)
		}
		if n.ID != "" {
			all = append(all, Claim{ID: ClaimID{Kind: claimID, Key: Key{Name: n.ID}}, Object: d, Interface: i})
		}
		if !n.MAC.IsZero() {
			all = append(all, Claim{ID: ClaimID{Kind: claimMAC, MAC: n.MAC}, Object: d, Interface: i, Subnet: n.Subnet})
		}
		for _, a := range n.Addrs {
			all = append(all, Claim{ID: ClaimID{Kind: claimAddr, Key: Key{Namespace: vm.Key.Namespace}, Addr: a}, Object: d, Interface: i, Subnet: n.Subnet})
		}
	}
	return all
}

// Against reports whether only one of c and o can have what they claim, which
// have the same ID. Two interfaces of one namespace may have the same MAC or
// address if they name two subnets: those are two networks. Interfaces of one
// virtual machine are not against each other.
func (c *Claim) Against(o *Claim) bool {
	switch {
	case c.ID.Kind == c.Object.Kind:
		return true
	case c.Object.Key == o.Object.Key:
		return false
	case c.Object.Key.Namespace != o.Object.Key.Namespace:
		return true
	}
	return c.Subnet.IsZero() || o.Subnet.IsZero() || c.Subnet == o.Subnet
}

// ClaimedTwice returns the error that second is refused, because first has what it
// claims.
func ClaimedTwice(second, first *Claim) Problem {
	if second.ID.Kind == second.Object.Kind {
		return DefinedTwice(second.Object, first.Object)
	}
	what, field := "", fmt.Sprintf("spec.networking.interfaces[%d].", second.Interface)
	switch second.ID.Kind {
	case claimUID:
		what, field = fmt.Sprintf("uid %q", second.ID.Key.Name), "metadata.uid"
	case claimID:
		what, field = fmt.Sprintf("interface id %q", second.ID.Key.Name), field+"id"
	case claimMAC:
		what, field = "MAC "+second.ID.MAC.String(), field+"macAddress"
	case claimAddr:
		what, field = "address "+second.ID.Addr.String(), field+"ipAddresses"
	}
	return Problem{
		Pos: second.Object.Pos, Object: second.Object.String(), Field: field,
		Reason: what + " is already that of VM " + first.Object.Key.String() + ", at " + first.Object.Pos.String(),
	}
}

// Conflicts returns the virtual machines that claim what an earlier one has, as
// errors, sorted, and the objects without those machines. What is earlier the
// order of files and of the objects in them says. Objects that are defined twice
// are not looked at; New reports them.
func Conflicts(files []Objects) ([]Objects, []Problem) {
	n := 0
	for i := range files {
		n += len(files[i].VirtualMachines)
	}
	if n < 2 {
		return files, nil
	}
	var errs []Problem
	first := make(map[ClaimID][]Claim)
	out := slices.Clone(files)
	for i := range out {
		var stay []VirtualMachine
		for _, vm := range out[i].VirtualMachines {
			claims := vm.appendClaims(nil)
			before := len(errs)
			for j := range claims {
				for k := range first[claims[j].ID] {
					if o := &first[claims[j].ID][k]; claims[j].Against(o) {
						errs = append(errs, ClaimedTwice(&claims[j], o))
						break
					}
				}
			}
			if len(errs) > before {
				continue
			}
			for _, c := range claims {
				first[c.ID] = append(first[c.ID], c)
			}
			stay = append(stay, vm)
		}
		out[i].VirtualMachines = stay
	}
	return out, SortProblems(errs)
}
