package pipeline

import (
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
)

// Table 15, flood: one copy for each VM of the network.

// floodChunk is the number of copies that are made in one go. Open vSwitch
// gives up on a packet after 4,096 resubmits, and a judged copy takes seven.
const floodChunk = 400

// flood emits the frame of the table.
func (f frame) flood() {
	f.strayFragments(flows.TableFlood, floodFragment, flows.RegIs(flows.RegFlood, flows.FloodCopy))
	f.add(flows.TableFlood, tableMiss, flows.Match{}, flows.Drop)
}

// floodNetwork emits the list of copies for a multicast frame in a network: one
// for each VM, then, with RegDst 0, the one for the infrastructure. That one comes
// last because it may add a tag and changes in_port, which keeps the sender from
// getting its own frame.
func floodNetwork(vlan uint16, ports []uint16, emit flows.Emitter) {
	slices.Sort(ports)
	cookie := flows.NewCookie(flows.KindNetwork, uint64(vlan))
	network := flows.RegIs(flows.RegNetwork, uint32(vlan))
	chunks := slices.Collect(slices.Chunk(append(ports, 0), floodChunk))
	for i, chunk := range chunks {
		as := make([]flows.Action, 0, 2*len(chunk)+2)
		for _, p := range chunk {
			as = append(as, flows.SetReg(flows.RegDst, uint32(p)), flows.Resubmit(uint8(flows.TableCopy)))
		}
		match := []flows.Term{network}
		if len(chunks) > 1 {
			match = append(match, flows.Metadata(uint64(i)))
		}
		if i == len(chunks)-1 {
			emit(flows.TableFlood, floodList, cookie, flows.NewMatch(match...), flows.Drop, as...)
			break
		}
		as = append(as, flows.Load(flows.Whole(flows.FieldMetadata), uint64(i+1)))
		emit(flows.TableFlood, floodList, cookie, flows.NewMatch(match...), flows.Drop,
			append(as[:len(as):len(as)], flows.Resubmit(uint8(flows.TableFlood)))...)
		// Recirculation, which tracking brings about, starts counting anew. No
		// fragment comes out of it, see strayFragments.
		for _, family := range families {
			emit(flows.TableFlood, floodRecirculate, cookie, with(match, family, flows.RegIs(flows.RegFlood, flows.FloodCopy)), flows.Drop,
				append(as[:len(as):len(as)], flows.SetReg(flows.RegND, 0), flows.Track(flows.Low(flows.RegZone, 16), uint8(flows.TableFlood)))...)
		}
	}
}
