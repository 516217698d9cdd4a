package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
)

// Table 4, role: which VM opened the connection and which VM answers it.

// role emits the frame of the table, which is all of it.
func (f frame) role() {
	t := flows.TableRole
	roles := func(orig, resp flows.Field) []flows.Action {
		return []flows.Action{
			flows.Move(flows.Whole(orig), flows.Whole(flows.RegOrig)),
			flows.Move(flows.Whole(resp), flows.Whole(flows.RegResp)),
		}
	}
	f.deny(t, roleInvalid, flows.NewMatch(flows.CT(flows.CTInv|flows.CTTrk, 0)), flows.CauseInvalid)
	f.add(t, roleKnown, flows.NewMatch(flows.CT(flows.CTTrk, flows.CTRpl)), int(flows.TableEgressEst), roles(flows.RegSrc, flows.RegDst)...)
	f.add(t, roleKnown, flows.NewMatch(flows.CT(flows.CTTrk|flows.CTRpl, 0)), int(flows.TableEgressEst), roles(flows.RegDst, flows.RegSrc)...)
	f.deny(t, tableMiss, flows.Match{}, flows.CauseInvalid)
}
