package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
)

// Table 3, track: connection tracking, in the right zone.

// track emits the frame of the table, which is all of it.
func (f frame) track() {
	t := flows.TableTrack
	for _, ts := range [][]flows.Term{
		{flows.EthType(flows.EthTypeARP)}, local(icmp6NeighborSolic), local(icmp6NeighborAdvert),
		append(local(icmp6RouterAdvert), outside), append(local(icmp6MLDQuery), outside),
		append(udp(flows.EthTypeIPv4, 67, 68), outside), append(udp(flows.EthTypeIPv6, 547, 546), outside),
	} {
		f.add(t, trackNot, with(ts), int(flows.TableDeliver))
	}
	track := flows.Track(flows.Low(flows.RegZone, 16), uint8(flows.TableRole))
	for _, family := range families {
		f.add(t, trackFlood, flows.NewMatch(family, outside, flows.RegIs(flows.RegFlood, flows.FloodJudged)), flows.Drop,
			flows.SetReg(flows.RegZone, flows.ZoneFlood), flows.Move(flows.Low(flows.RegNetwork, 12), flows.Low(flows.RegZone, 12)), track)
		f.add(t, trackFromOutside, flows.NewMatch(family, outside), flows.Drop,
			flows.Move(flows.Whole(flows.RegDst), flows.Whole(flows.RegZone)), track)
		f.add(t, trackToOutside, flows.NewMatch(family, flows.RegIs(flows.RegDst, 0)), flows.Drop,
			flows.Move(flows.Whole(flows.RegSrc), flows.Whole(flows.RegZone)), track)
		f.add(t, trackLocal, flows.NewMatch(family), flows.Drop,
			flows.SetReg(flows.RegZone, uint32(flows.LocalZone(0))), flows.Move(flows.Low(flows.RegNetwork, 12), flows.Low(flows.RegZone, 12)), track)
	}
	f.deny(t, tableMiss, flows.Match{}, flows.CauseEtherType)
}
