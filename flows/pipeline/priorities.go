package pipeline

// The priorities of all flows, by table, highest first: of the flows of a table that
// match a packet, the one with the highest priority counts. Package compile uses
// the exported priorities, to read back flows and to spread conjunctions.

// tableMiss is the priority of the flow of each table that takes all packets that
// no other flow of the table takes.
const tableMiss = 0

// 0 classify.
const (
	classifyTracked = 200 // was tracked before it came here
	classifyNative  = 110 // a frame of no VLAN at an infrastructure port
	classifyPort    = 100 // a known port, for a VM with its MAC
)

// 1 spoof_guard.
const (
	spoofServer      = 300 // what only servers and routers send
	spoofNDNoTarget  = 260 // a solicitation whose target cannot be read
	spoofNDLinkLayer = 240 // the link-layer address in neighbour discovery is the VM's
	spoofNDTarget    = 230 // the target of an advertisement is the VM's
	spoofNDNoLink    = 220 // neighbour discovery without a link-layer address
	spoofNDDAD       = 210 // duplicate address detection
	spoofNDHops      = 205 // the hop limit is that of a packet that stays on the link
	spoofNDForeign   = 200 // neighbour discovery that did not pass the steps above
	spoofOwn         = 100 // the VM's own addresses, and what it sends before it has one
)

// 2 dispatch.
const (
	dispatchInND         = 112 // neighbour discovery from outside, to be looked at
	dispatchInHops       = 111 // and with the hop limit of a packet from the link
	dispatchVM           = 100 // a VM's MAC
	dispatchInDirect     = 96  // multicast from outside that no rule governs
	dispatchInJudged     = 94  // IP multicast from outside
	dispatchInTrack      = 92  // unicast IP to a multicast MAC from outside
	dispatchIn           = 90  // anything else from outside
	dispatchOutQuery     = 89  // an IGMP query
	dispatchOutServices  = 88  // what only servers and routers are to answer
	dispatchOutNeighbour = 87  // ARP and neighbour discovery to many
	dispatchOutLink      = 86  // neighbour discovery to an address of the link
	dispatchOutBeyond    = 85  // neighbour discovery to any other address
	dispatchOutMulticast = 82  // other multicast of a VM
)

// 3 track.
const (
	trackNot         = 200 // is not tracked
	trackFlood       = 130 // multicast from outside
	trackFromOutside = 120
	trackToOutside   = 110
	trackLocal       = 100 // between two local VMs
)

// 4 role.
const (
	roleInvalid = 110
	roleKnown   = 100
	// Fragments, userspace datapath.
	roleOwn     = 98 // the registers are those of its sender
	roleZone    = 97 // another zone than that of the registers
	roleOutside = 96 // the registers are those of a packet from outside
	roleGuard   = 95 // a piece of what only servers send
	roleSender  = 94 // the MAC is that of the VM in the registers
	roleForeign = 93 // any other
	roleRelated = 92 // a piece of an ICMP error
	rolePiece   = 90 // to be looked at
)

// 5 and 9, egress_est and ingress_est.
const (
	estNoVM    = 120 // the side has no local VM
	EstOwn     = 110 // the connection is the port's own
	estRelated = 105 // an ICMP error about a connection of another port
	estOther   = 100
)

// 6 and 10, egress_epoch and ingress_epoch.
const (
	EpochCurrent = 110 // judged at the present epoch
	epochStale   = 100
)

// 7 and 11, egress_remote and ingress_remote.
const remoteMember = 100

// 8 and 12, egress_rules and ingress_rules.
const (
	// rulesPlain is the priority of flows that allow by themselves.
	rulesPlain = 2000
	// RulesConjunction is the priority of conjunctions and their clauses. When
	// more than MaxConjunctions share a clause, the next take the priority below.
	RulesConjunction = 1000
	rulesFragment    = 10 // later fragments, userspace datapath
)

// 13 commit.
const (
	commitNever    = 120 // flooded copies, multicast from outside
	commitFragment = 118 // a fragment, userspace datapath
	commitPassed   = 117 // a fragment that comes from there, judged at the present epochs
	commitAgain    = 116 // and any other that comes from there
	commitCurrent  = 115 // the connection's label is up to date
	commitJudged   = 110 // a multicast frame, which must stay tracked
	commitStale    = 100
)

// 14 deliver.
const (
	deliverInvalid      = 210 // invalid by the commit, userspace datapath
	deliverFragment     = 200 // a fragment with the registers of another packet, userspace datapath
	deliverFlood        = 140 // opens a connection with many
	deliverFloodOutside = 130 // the infrastructure had its own
	deliverBack         = 120 // from outside to outside
	deliverUntagged     = 110 // towards the infrastructure without tag
	deliverTagged       = 100 // towards the infrastructure with tag
	deliverPop          = 90  // to a VM, with a tag that goes
)

// 15 flood.
const (
	floodFragment    = 120 // as deliverFragment
	floodRecirculate = 110 // a part of a long list, judged copies
	floodList        = 100
)

// 16 deny.
const (
	denyByRule = 100 // by the rules of a port
	denyAtPort = 90  // what came in at a port
)

// 17 copy.
const (
	copyBack    = 120 // for the infrastructure, which sent it
	copyOutside = 110 // for the infrastructure
	copyVM      = 100
)

// 18 service. The priority of a block of ports is serviceBlock less the length of
// its prefix, so that the look-up ends with the first that fits.
const serviceBlock = 100
