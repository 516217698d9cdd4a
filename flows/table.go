package flows

import "strconv"

// Table is an OpenFlow table of the pipeline. docs/pipeline.md walks through
// them with real dumps.
type Table uint8

// The tables, in the order in which a packet meets them. A packet goes
// forward only, except that flooded copies come back from TableCopy. The epoch
// tables ask TableService in between.
const (
	TableClassify      Table = iota // whose port is it
	TableSpoofGuard                 // the VM's own addresses only
	TableDispatch                   // whom is it for
	TableTrack                      // connection tracking, in the right zone
	TableRole                       // who opened the connection, who answers it
	TableEgressEst                  // is the connection the originator's own
	TableEgressEpoch                // was it judged by the rules it has now
	TableEgressRemote               // which groups is the responder's address in
	TableEgressRules                // do the originator's rules allow it
	TableIngressEst                 // is the connection the responder's own
	TableIngressEpoch               // was it judged by the rules it has now
	TableIngressRemote              // which groups is the originator's address in
	TableIngressRules               // do the responder's rules allow it
	TableCommit                     // remember the epochs in the connection
	TableDeliver                    // to the VM, or towards the infrastructure
	TableFlood                      // one copy for each VM of the network
	TableDeny                       // drop and count
	TableCopy                       // what becomes of one flooded copy
	TableService                    // which masks of ports can match, asked by the epoch tables
	numTables
)

var tableNames = [numTables]string{
	"classify", "spoof_guard", "dispatch", "track", "role",
	"egress_est", "egress_epoch", "egress_remote", "egress_rules",
	"ingress_est", "ingress_epoch", "ingress_remote", "ingress_rules",
	"commit", "deliver", "flood", "deny", "copy", "service",
}

// String returns the name of the table in the switch (Flow_Table.name).
func (t Table) String() string {
	if t < numTables {
		return tableNames[t]
	}
	return strconv.Itoa(int(t))
}

// Tables returns all tables in order.
func Tables() []Table {
	ts := make([]Table, numTables)
	for i := range ts {
		ts[i] = Table(i)
	}
	return ts
}

// Prefixes returns the fields for which the switch should keep prefix tries in
// this table (Flow_Table.prefixes in ovs-vswitchd.conf.db(5)), so that a
// megaflow covers as much of the address space as the flows allow.
func (t Table) Prefixes() []string {
	switch t {
	case TableSpoofGuard:
		return []string{"ip_src", "ipv6_src"}
	case TableDispatch:
		return []string{"ip_dst", "ipv6_dst"}
	case TableEgressRemote, TableEgressRules:
		return []string{"ct_ipv6_dst", "ct_nw_dst"}
	case TableIngressRemote, TableIngressRules:
		return []string{"ct_ipv6_src", "ct_nw_src"}
	}
	return nil
}

// The registers. Each holds one thing, whole, so that a dump can be read.
const (
	RegSrc       = FieldReg0 + iota // ofport of the local VM that sent the packet; 0: none
	RegDst                          // ofport of the local VM it is for; 0: infrastructure
	RegNetwork                      // VLAN; 0: untagged
	RegZone                         // connection tracking zone
	RegOrig                         // ofport of the local VM that opened the connection; 0: none
	RegResp                         // ofport of the local VM that answers it; 0: none
	RegOrigEpoch                    // epoch of RegOrig's egress rules
	RegRespEpoch                    // epoch of RegResp's ingress rules
	RegLocal                        // number of the class of the local VM whose rules are asked
	RegRemote                       // number of the set of groups of the other side's address; 0: in no group that matters
	RegVPC                          // number of the local VM's VPC
	RegFlood                        // what becomes of a multicast frame, see FloodNone
	RegCause                        // why the packet is denied, a Cause
	RegND                           // how far neighbour discovery has been looked at, see NDLinkLayer
	RegCommit                       // which halves of ct_label are out of date: 1 the originator's, 2 the responder's
	RegPorts                        // which lengths of port masks can match: bit n, a mask of n bits
)

// The registers from RegOrig to RegRespEpoch are what ct_label is to be: commit
// copies them as xxreg1, which is reg4 to reg7. An index beyond these arrays is an
// error of the Go compiler.
var (
	_ = [1]struct{}{}[RegOrig-FieldReg4]
	_ = [1]struct{}{}[RegResp-FieldReg5]
	_ = [1]struct{}{}[RegOrigEpoch-FieldReg6]
	_ = [1]struct{}{}[RegRespEpoch-FieldReg7]
)

// Values of RegND.
const (
	NDLinkLayer = 1 + iota // the link-layer address in it is the VM's
	NDDone                 // and the target of an advertisement is the VM's
	NDListener             // multicast listener discovery, to be looked at
	NDRouter               // a router advertisement, to be looked at
	NDLocal                // it has not left the link: hop limit and source are right
	NDPiece                // from TableRole on: a fragment that is compared with the registers
	NDOwn       = 0x8      // and whose registers are those of its sender
)

// CommitPassed, in RegCommit, says that a fragment has been through the commit.
const CommitPassed = 4

// Values of RegFlood.
const (
	FloodNone   = iota
	FloodJudged // track once, then one copy for each VM, judged by its ingress rules
	FloodCopy   // a copy of a FloodJudged frame
	FloodDirect // one copy for each VM, no rule governs it
	FloodTrack  // one copy for each VM, tracked and judged as if it were unicast
)

// Cause says why a packet is denied.
type Cause uint32

// The causes.
const (
	CauseUnidentified Cause = 1 + iota
	CauseSpoof
	CauseEtherType
	CauseInvalid
	CauseEgress
	CauseIngress
)

var causes = [...]string{
	CauseUnidentified: "a port nobody knows, or a VM port with a wrong source MAC or a VLAN tag",
	CauseSpoof:        "not the VM's address, or not a VM's business",
	CauseEtherType:    "not IP, and nothing else that is known",
	CauseInvalid:      "connection tracking calls it invalid",
	CauseEgress:       "no egress rule of the originator allows it",
	CauseIngress:      "no ingress rule of the responder allows it",
}

// String returns the meaning of the cause in the words of docs/pipeline.md.
func (c Cause) String() string {
	if int(c) < len(causes) && causes[c] != "" {
		return causes[c]
	}
	return "cause " + strconv.FormatUint(uint64(c), 10)
}

// Connection tracking zones. The zone of traffic between a local VM and the outside
// is the VM's ofport; that of traffic between two local VMs is LocalZone.
const (
	MaxOFPort = 0x7fff // the highest ofport that is a zone
	zoneLocal = 0x8000
	// ZoneFlood, with the VLAN, is for multicast from outside; nothing is ever
	// committed in it.
	ZoneFlood = 0xf000
)

// LocalZone returns the zone of connections between two local VMs of a VLAN.
func LocalZone(vlan uint16) uint16 { return zoneLocal | vlan }
